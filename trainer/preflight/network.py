"""TR514, TR515: what several nodes need of each other, as far as one of them can tell."""

import os
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.finding import Finding, error, warning

INTERFACES = Path("/sys/class/net")
MOUNTS = Path("/proc/mounts")
VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "ramfs", "f2fs", "vfat"}
"""File systems of one machine; others (nfs4, lustre, gpfs, ceph, beegfs, wekafs, fuse...) may be shared."""


def check(config: DictConfig) -> Iterator[Finding]:
    """Interfaces that the environment names, and a run folder that all nodes see."""
    yield from _interfaces(config)
    folder = Path(config.trainer.default_local_dir).absolute()
    if config.trainer.nnodes > 1 and (kind := file_system(folder, MOUNTS.read_text("utf-8"))) in LOCAL:
        yield warning(
            "TR515",
            f"trainer.nnodes={config.trainer.nnodes}, but {folder} is on {kind}, which other nodes do not see: each "
            "keeps its own shards, and no checkpoint is whole",
            "set paths.outputs to a folder on a file system that all nodes share",
        )  # fmt: skip


def _interfaces(config: DictConfig) -> Iterator[Finding]:
    """NCCL and gloo wait in silence, or fail after minutes, without the interface (a list of prefixes; ^ excludes)."""
    ours = OmegaConf.select(config, "ray_kwargs.ray_init.runtime_env.env_vars") or {}
    present = [path.name for path in INTERFACES.iterdir()] if INTERFACES.is_dir() else []
    for variable in VARIABLES:
        value = str(ours.get(variable) or os.environ.get(variable) or "")
        if not value or value.startswith("^") or not present:
            continue
        prefixes = value.removeprefix("=").split(",")
        if not any(name.startswith(prefix.strip()) for prefix in prefixes for name in present):
            yield error(
                "TR514", f"{variable}={value}, but this machine's interfaces are {', '.join(sorted(present))}",
                f"unset {variable}, or name one of them",
            )  # fmt: skip


def file_system(path: Path, mounts: str) -> str | None:
    """Type of the file system below ``path`` by the lines of ``/proc/mounts``: that of the longest mount point."""
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")  # a blank is \040 there
        if path.is_relative_to(point) and (best is None or len(point) >= best[0]):
            best = (len(point), kind)
    return best[1] if best else None
