"""Leaves no process behind: everything a run starts is found and stopped by pid.

Ray's workers and vLLM's engines outlive a driver that is interrupted or an actor that is killed; their
parents die first, so they would be handed to init. Linux can hand them to this process instead
(``PR_SET_CHILD_SUBREAPER``), which makes them descendants that can be listed.
"""

import ctypes
import signal
import sys
from collections.abc import Callable
from types import FrameType

import psutil

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies. No effect off Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def interrupt_on_sigterm() -> None:
    """Make SIGTERM (a scheduler's stop) act like one Ctrl-C."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def on_stop_signals(first: Callable[[], None]) -> None:
    """Call ``first`` at a scheduler's first SIGTERM or SIGUSR1; the second acts like Ctrl-C."""
    seen: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        seen.append(signum)
        if len(seen) > 1:
            raise KeyboardInterrupt
        first()

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, handle)


def stop_descendants(grace: float = 5.0) -> list[int]:
    """Stop every descendant of this process.

    Args:
        grace: seconds between the polite signal and the final one.

    Returns:
        The pids that had to be killed because they did not stop by themselves.
    """
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        _send(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=grace)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=grace)
    return [process.pid for process in alive]


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended between the listing and now


def ignore_interrupts() -> None:
    """Let a clean-up that takes seconds finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
