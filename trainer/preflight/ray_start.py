"""TR509 to TR513: what Ray needs of the machine in order to start, and what it waits for without a word.

The commonest complaint of verl's users is a run that hangs at its start (verl#1144, #242, #492, #523, #2705).
"""

import os
import resource
import shutil
import socket
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.finding import Finding, error, warning

CPUS_A_DEVICE = 3
"""CPUs in the placement group of each device: ``ResourcePoolManager.max_colocate_count`` of verl 0.9.1."""
TASK_RUNNER_CPUS = 1
LEAST_FILES = 4096
"""Below that Ray itself warns of connection errors."""
FULL = 0.95
"""Share of the disk from which Ray creates no more objects (``RAY_local_fs_capacity_threshold``)."""
LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path on Linux."""
SOCKET = "session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
CGROUP = Path("/sys/fs/cgroup/cpu.max")
CONNECT_S = 5.0


def check(config: DictConfig) -> Iterator[Finding]:
    """Either a Ray of its own, or one that runs and answers."""
    address = joined(config)
    if address is not None:
        yield from _answers(address)
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < LEAST_FILES:
        yield warning(
            "TR509", f"a process may open {hard} files; Ray wants {LEAST_FILES} at least and drops connections without",
            "raise the hard limit: `ulimit -Hn 65536` as root, or --ulimit nofile=65536 for a container",
        )  # fmt: skip
    yield from _cpus(config)
    yield from _folder(config)


def joined(config: DictConfig) -> str | None:
    """The address of the Ray that the run joins; None where it starts its own."""
    address = config.ray_kwargs.ray_init.get("address") or os.environ.get("RAY_ADDRESS")
    return None if address in (None, "local") else str(address)


def _answers(address: str) -> Iterator[Finding]:
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not port.isdecimal():
        return  # "auto", or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as problem:
        yield error(
            "TR510", f"no Ray answers at {address} ({problem.strerror or problem})",
            "start it with `ray start --head`, correct RAY_ADDRESS, or unset it for a Ray of the run's own",
        )  # fmt: skip


def _cpus(config: DictConfig) -> Iterator[Finding]:
    """A placement group that does not fit is waited for, for ever."""
    told = OmegaConf.select(config, "ray_kwargs.ray_init.num_cpus")
    cpus = cores(CGROUP.read_text("ascii") if CGROUP.is_file() else "max") if told is None else told
    needed = CPUS_A_DEVICE * config.trainer.n_gpus_per_node + TASK_RUNNER_CPUS
    if cpus < needed:
        yield error(
            "TR511",
            f"Ray has {cpus} CPUs, and verl asks for {needed}: {CPUS_A_DEVICE} a device and {TASK_RUNNER_CPUS} more; "
            "it would wait for them for ever",
            f"set ray_kwargs.ray_init.num_cpus={max(32, needed)}: to Ray the number is only a count",
        )  # fmt: skip


def cores(quota: str) -> int:
    """The machine's, or fewer in a container, as Ray counts them: ``quota`` is the text of cgroup 2's ``cpu.max``."""
    machine = os.cpu_count() or 1
    allowed, *period = quota.split()
    return machine if allowed == "max" else min(machine, ceil(int(allowed) / int(period[0])))


def _folder(config: DictConfig) -> Iterator[Finding]:
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    folder = Path(config.ray_kwargs.ray_init.get("_temp_dir") or Path(base) / "ray")
    if len(bytes(folder / SOCKET)) > LONGEST_SOCKET:
        yield error(
            "TR512",
            f"Ray's folder {folder} has too long a path: its sockets below would exceed {LONGEST_SOCKET} bytes",
            "set RAY_TMPDIR to a short one, e.g. /tmp",
        )  # fmt: skip
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    usage = shutil.disk_usage(existing)
    if usage.free < (1 - FULL) * usage.total:
        yield warning(
            "TR513",
            f"the disk of Ray's folder {folder} is {1 - usage.free / usage.total:.0%} full; from {FULL:.0%} on Ray "
            "creates no more objects",
            "free some space (old sessions in that folder), or set RAY_TMPDIR to another disk",
        )  # fmt: skip
