"""A stand-in for ``torch.cuda`` on a CPU: the functions that verl calls on its device module.

``torch.cpu`` has streams and a device count but no memory statistics and no random state. Memory figures
are this process's resident set, so verl's ``perf/max_memory_*`` metrics stay true numbers.
"""

import resource
import types

import psutil
import torch


class CPUDeviceModule(types.ModuleType):
    """Module whose missing names fall through to ``torch.cpu``."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(torch.cpu, name)


def _resident_bytes(device: object = None) -> int:
    return psutil.Process().memory_info().rss


def _peak_resident_bytes(device: object = None) -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux reports KiB
    return max(peak, _resident_bytes())  # the kernel updates the peak lazily


def _memory_info(device: object = None) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _nothing(*args: object, **kwargs: object) -> None:
    """A CPU has no device cache, stream or peak counter to act on."""


def build() -> CPUDeviceModule:
    """The device module that :class:`~tr_grpo.trainer.cpu.platform.PlatformCPU` hands to verl."""
    module = CPUDeviceModule("tr_grpo_cpu_device")
    names: dict[str, object] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: "cpu",
        "set_device": _nothing,
        "synchronize": _nothing,
        "empty_cache": _nothing,
        "ipc_collect": _nothing,
        "reset_peak_memory_stats": _nothing,
        "memory_allocated": _resident_bytes,
        "memory_reserved": _resident_bytes,
        "max_memory_allocated": _peak_resident_bytes,
        "max_memory_reserved": _peak_resident_bytes,
        "mem_get_info": _memory_info,
        "get_rng_state": torch.get_rng_state,
        "set_rng_state": torch.set_rng_state,
        "manual_seed": torch.manual_seed,
        "manual_seed_all": torch.manual_seed,
    }
    for name, value in names.items():
        setattr(module, name, value)
    return module
