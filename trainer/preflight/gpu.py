"""TR53x: the GPUs of this machine, as ``nvidia-smi`` tells, without a CUDA context in the driver process."""

import csv
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.ledger import BatchLedger
from tr_grpo.trainer.preflight.weights import parameters

FIELDS = "index,name,memory.total,memory.used,compute_cap,mig.mode.current"
PATIENCE_S = 30.0
GIB = 1024**3
MIB = 1024**2
BF16_CAPABILITY = 8.0
IDLE_GIB = 1.0
"""A GPU without a process shows a few hundred MiB in use."""
BYTES_AT_REST = 12
"""A parameter under FSDP: float32 weight and AdamW's two moments."""
BYTES_IN_UPDATE = 16
"""And its float32 gradient; activations come on top."""


@dataclass(frozen=True)
class Gpu:
    """One row of ``nvidia-smi``; memory in bytes."""

    index: int
    name: str
    total: int
    used: int
    capability: float
    mig: bool


def query() -> tuple[list[Gpu], tuple[int, int] | None]:
    """The GPUs and the newest CUDA version that the driver can run; nothing where there is no ``nvidia-smi``."""
    if shutil.which("nvidia-smi") is None:
        return [], None
    command = ["nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"]
    rows = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False).stdout
    banner = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=PATIENCE_S, check=False).stdout
    return parse(rows), driver_cuda(banner)


def parse(rows: str) -> list[Gpu]:
    """``nvidia-smi --query-gpu=FIELDS --format=csv,noheader,nounits``; a line of another form is no GPU."""
    gpus = []
    for row in csv.reader(io.StringIO(rows), skipinitialspace=True):
        if len(row) == len(FIELDS.split(",")) and row[0].isdecimal() and row[2].isdecimal() and row[3].isdecimal():
            capability = float(row[4]) if re.fullmatch(r"\d+\.\d+", row[4]) else 0.0
            gpus.append(Gpu(int(row[0]), row[1], int(row[2]) * MIB, int(row[3]) * MIB, capability, row[5] == "Enabled"))
    return gpus


def driver_cuda(banner: str) -> tuple[int, int] | None:
    """The CUDA version in the table that ``nvidia-smi`` prints."""
    found = re.search(r"CUDA (?:UMD )?Version\s*: (\d+)\.(\d+)", banner)
    return (int(found[1]), int(found[2])) if found else None


def visible(gpus: Sequence[Gpu], mask: str | None) -> list[Gpu]:
    """Those that ``CUDA_VISIBLE_DEVICES`` leaves; all of them where it is unset or names them by UUID."""
    numbers = (mask or "").split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        return list(gpus)
    return [gpu for gpu in gpus if gpu.index in {int(number) for number in numbers}]


def check(config: DictConfig) -> Iterator[Finding]:
    """Nothing on a CPU, and nothing on a machine without NVIDIA GPUs, such as a cluster's head (TR501 counts them)."""
    if config.trainer.device != "cuda":
        return
    import torch

    gpus, driver = query()
    yield from judge(config, visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES")), driver, torch.version.cuda)


def judge(
    config: DictConfig, gpus: Sequence[Gpu], driver: tuple[int, int] | None, built_for: str | None
) -> Iterator[Finding]:
    """What these GPUs mean for this run.

    Args:
        config: the run.
        gpus: those that the run can use.
        driver: the CUDA version of the driver.
        built_for: that of torch, e.g. ``13.0``.
    """
    if driver and built_for and driver[0] < int(built_for.partition(".")[0]):
        yield error(
            "TR531", f"the GPU driver runs CUDA {driver[0]}.{driver[1]} at most, and torch is built for {built_for}",
            "update the driver: within a major version an older one will do, across it will not",
        )  # fmt: skip
    if old := [gpu for gpu in gpus if 0 < gpu.capability < BF16_CAPABILITY]:
        yield warning(
            "TR532",
            f"GPU {old[0].index} ({old[0].name}) has compute capability {old[0].capability}: neither bfloat16 nor "
            "flash-attn 2 runs on it",
            "use an Ampere or newer GPU, or rollout.dtype=float16, mixed_precision in fp16 and sdpa attention",
        )  # fmt: skip
    if busy := [gpu for gpu in gpus if gpu.used > IDLE_GIB * GIB]:
        shown = ", ".join(f"GPU {gpu.index} {gpu.used / GIB:.1f} of {gpu.total / GIB:.0f} GiB" for gpu in busy)
        yield warning(
            "TR533", f"memory is in use already: {shown}; vLLM takes its share of the whole, not of what is free",
            "stop the other program (nvidia-smi names it), or choose others with CUDA_VISIBLE_DEVICES",
        )  # fmt: skip
    if mig := [gpu for gpu in gpus if gpu.mig]:
        yield warning(
            "TR534",
            f"GPU {mig[0].index} is in MIG mode: a process sees one slice, and NCCL does not join slices of a GPU",
            "use whole GPUs, or one slice with trainer.n_gpus_per_node=1",
        )  # fmt: skip
    yield from _memory(config, gpus)


def _memory(config: DictConfig, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """A lower bound: activations, the reference policy and fragmentation come on top."""
    count = parameters(config.actor_rollout_ref.model.path)
    if count is None or not gpus or config.actor_rollout_ref.model.lora_rank > 0:
        return
    total = min(gpu.total for gpu in gpus)
    each = count / BatchLedger.from_config(config).devices
    offload = config.actor_rollout_ref.actor.fsdp_config
    share = config.actor_rollout_ref.rollout.gpu_memory_utilization
    if each * BYTES_IN_UPDATE > total:
        yield warning(
            "TR535", f"{count / 1e9:.1f}e9 parameters with gradient and AdamW in float32 take "
            f"{each * BYTES_IN_UPDATE / GIB:.0f} GiB a device in the update, and a GPU has {total / GIB:.0f}",
            "use more devices, a smaller model, or actor_rollout_ref.model.lora_rank",
        )  # fmt: skip
    elif not (offload.param_offload and offload.optimizer_offload) and each * BYTES_AT_REST + share * total > total:
        yield warning(
            "TR535",
            f"{each * BYTES_AT_REST / GIB:.0f} GiB a device of parameters and AdamW stay on the GPU beside vLLM's "
            f"gpu_memory_utilization={share} of {total / GIB:.0f} GiB",
            "set actor.fsdp_config.param_offload=true and .optimizer_offload=true, or lower "
            "rollout.gpu_memory_utilization",
        )  # fmt: skip
