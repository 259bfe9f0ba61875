"""A run's short name, which what it leaves outside its folder carries: sockets in /tmp, segments in /dev/shm.

Without it nobody can tell whose they are: two runs on a machine would share sockets, and what a killed process leaves
behind could not be removed without the risk of removing somebody else's.
"""

import os
import tempfile
import uuid
from pathlib import Path

VARIABLE = "TR_GRPO_RUN"
"""Holds the name in each process of a run; set by trainer/main.py."""
LENGTH = 5
SEGMENTS = Path("/dev/shm")
PYTHONS = "/psm_"
"""How Python begins the names of shared memory; 14 characters is the longest name that every system takes."""


def new() -> str:
    """A name for a run that starts, of ``LENGTH`` hexadecimal digits."""
    return uuid.uuid4().hex[:LENGTH]


def of_this_process() -> str | None:
    """The name of the run that this process belongs to."""
    return os.environ.get(VARIABLE)


def segment_prefix(run: str) -> str:
    """How the names of a run's shared memory begin."""
    return f"/tr{run}_"


def name_segments() -> None:
    """Let all shared memory that this process makes carry its run's name; nothing changes outside a run.

    vLLM calls this in each of its processes (an entry point ``vllm.general_plugins``), verl through trainer/plugin.py.

    Raises:
        RuntimeError: Python names its shared memory differently than 3.11 and 3.12 do.
    """
    from multiprocessing import shared_memory

    run = of_this_process()
    if run is None:
        return
    if getattr(shared_memory, "_SHM_NAME_PREFIX", None) not in (PYTHONS, segment_prefix(run)):
        raise RuntimeError(f"this Python names its shared memory differently; revise {__name__}")
    shared_memory._SHM_NAME_PREFIX = segment_prefix(run)  # type: ignore[attr-defined]


def remove_left(run: str) -> list[str]:
    """Remove what the processes of ``run``, all of them gone, left on this machine; returns its names."""
    left = [
        *SEGMENTS.glob(f"{segment_prefix(run)[1:]}*"),
        *Path(tempfile.gettempdir()).glob(f"rl-colocate-zmq-{run}-*"),
    ]
    for path in left:
        path.unlink(missing_ok=True)
    return sorted(path.name for path in left)
