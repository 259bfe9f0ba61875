"""TR5xx: devices, memory, shared memory, disk and ports of this machine."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.finding import Finding, error, warning

GIB = 1024**3
# One worker with llm=tiny peaked at 8.6 to 9.4 GiB (docs/benchmarks.md); the split between the two is an estimate.
CPU_WORKER_GIB = 3.0
CPU_BASE_GIB = 6.0
OBJECT_STORE_GIB = 0.5
DISK_GIB = 1.0


def check(config: DictConfig) -> Iterator[Finding]:
    """All checks of the machine that the command runs on."""
    yield from _devices(config)
    yield from _memory(config)
    yield from _shared_memory()
    yield from _output_folder(Path(config.trainer.default_local_dir))
    yield from _ports(config)


def _devices(config: DictConfig) -> Iterator[Finding]:
    wanted = config.trainer.n_gpus_per_node
    if config.trainer.device == "cpu":
        cores = len(os.sched_getaffinity(0))
        if wanted > cores:
            yield error(
                "TR501", f"trainer.n_gpus_per_node={wanted} workers, but this machine has {cores} cores",
                f"set trainer.n_gpus_per_node to {cores} or less",
            )  # fmt: skip
        return
    import torch

    # Behind a Ray address the driver's machine may have none.
    found = torch.cuda.device_count()
    if wanted > found and not os.environ.get("RAY_ADDRESS") and config.trainer.nnodes == 1:
        yield error(
            "TR501", f"trainer.n_gpus_per_node={wanted}, but this machine has {found} GPUs",
            "set trainer.n_gpus_per_node, choose cluster=cpu, or set RAY_ADDRESS to the cluster",
        )  # fmt: skip


def _memory(config: DictConfig) -> Iterator[Finding]:
    if config.trainer.device != "cpu":
        return
    needed = CPU_BASE_GIB + CPU_WORKER_GIB * config.trainer.n_gpus_per_node
    free = psutil.virtual_memory().available / GIB
    if free < needed:
        yield warning(
            "TR502", f"{free:.1f} GiB of memory are free; a run with the tiny model takes about {needed:.0f} GiB",
            "stop other programs, or lower trainer.n_gpus_per_node",
        )  # fmt: skip


def _shared_memory() -> Iterator[Finding]:
    """A container's is 64 MB unless asked for more; Ray, NCCL and the weight sync all use it."""
    shared = shutil.disk_usage("/dev/shm").free / GIB if os.path.isdir("/dev/shm") else 0.0
    if shared < OBJECT_STORE_GIB:
        yield warning(
            "TR503", f"/dev/shm has {shared:.2f} GiB free; Ray's object store and the weight sync live there",
            "in a container, start it with --shm-size=4g",
        )  # fmt: skip


def _output_folder(folder: Path) -> Iterator[Finding]:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing) as file:
            file.write(b"\0")
    except OSError as problem:
        yield error(
            "TR504", f"trainer.default_local_dir={folder} cannot be written ({problem.strerror})",
            "set paths.outputs to a writable folder, or free some space",
        )  # fmt: skip
        return
    free = shutil.disk_usage(existing).free / GIB
    if free < DISK_GIB:
        yield error(
            "TR505", f"{existing} has {free:.2f} GiB free, less than {DISK_GIB:.0f} GiB for checkpoints and logs",
            "free some space, or set paths.outputs",
        )  # fmt: skip


def _ports(config: DictConfig) -> Iterator[Finding]:
    start = config.ray_kwargs.ray_init
    if start.get("address") not in (None, "local") and start.get("num_cpus") is not None:
        yield error(
            "TR506", f"ray_init.address={start.address} joins a Ray that runs; num_cpus cannot be set then",
            "remove ray_kwargs.ray_init.address, or set ray_kwargs.ray_init.num_cpus=null",
        )  # fmt: skip
    port = OmegaConf.select(config, "ray_kwargs.ray_init.dashboard_port")
    if port is not None and start.get("include_dashboard") is not False:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                yield error(
                    "TR507", f"port {port} (ray_init.dashboard_port) is taken, perhaps by another Ray",
                    "choose another port, or stop that Ray with `ray stop`",
                )  # fmt: skip
