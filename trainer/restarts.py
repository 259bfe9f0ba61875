"""``trainer.max_restarts``: a run that failed is started again, from its last whole checkpoint, after a pause.

Each start is a process of its own: a driver that was killed, or whose Ray died under it, cannot clean up after itself.
This one can: it adopts whatever the driver leaves behind and stops it before the next start.

Not started again: a run that is done, was asked to stop or was interrupted, bad input at the first start (later it may
be a node that is still missing), and an error that came twice without a checkpoint in between: it would come again.
"""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tr_grpo.trainer import exit_status, processes
from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.events import append, read

LONGEST_PAUSE_S = 300.0
FINAL = (exit_status.DONE, exit_status.BAD_INPUT, exit_status.STOPPED, exit_status.INTERRUPTED)


@dataclass(frozen=True)
class Failure:
    """How a start ended.

    Attributes:
        cause: in words.
        outside: a signal killed it, or the machines do not suffice: it may not come again.
        step: of the last checkpoint.
    """

    cause: str
    outside: bool
    step: int | None

    def repeats(self, before: "Failure | None") -> bool:
        """True where the same error came at the same step."""
        return (
            before is not None
            and not self.outside
            and self.step == before.step
            and _without_numbers(self.cause) == _without_numbers(before.cause)
        )


def pause_before(restart: int, first: float) -> float:
    """Seconds before the ``restart``-th restart (from 1): ``first``, twice that, and so on, 300 at most."""
    return min(first * 2.0 ** (restart - 1), LONGEST_PAUSE_S)


def supervise(command: Sequence[str], run_folder: Path, max_restarts: int, first_pause_s: float) -> int:
    """Run ``command`` in processes of its own until it ends for good.

    Args:
        command: a driver that writes its end into ``events.jsonl`` (:func:`tr_grpo.trainer.run_log.logged`).
        run_folder: ``trainer.default_local_dir``.
        max_restarts: how often it is started again.
        first_pause_s: seconds before the first restart; each later one waits twice as long.

    Returns:
        The exit status of the last start; 1 where a signal killed it.
    """
    processes.adopt_orphans()
    child = _Child(list(command))
    before = None
    for restart in range(max_restarts + 1):
        status = child.run()
        processes.stop_descendants()
        refused = status == exit_status.BAD_INPUT and restart > 0
        if status in FINAL and not refused:
            return status
        cause = "the preflight refused the restart, as said above" if refused else _cause(run_folder, status)
        failure = Failure(cause, status < 0 or refused, _last_step(run_folder))
        if child.asked_by is not None:
            # Killed by it: too early for the driver to have anything to save.
            return exit_status.STOPPED if status == -child.asked_by else exit_status.FAILED
        if failure.repeats(before):
            _say(f"gave up: the same error twice without a checkpoint in between: {failure.cause}")
            return exit_status.FAILED
        before = failure
        if restart == max_restarts:
            _say(f"gave up after {max_restarts} restarts (trainer.max_restarts): {failure.cause}")
            return exit_status.BAD_INPUT if refused else exit_status.FAILED
        pause = pause_before(restart + 1, first_pause_s)
        append(
            run_folder,
            {"event": "restart", "restart": restart + 1, "of": max_restarts, "cause": failure.cause, "pause_s": pause},
        )
        whence = "from the start" if failure.step is None else f"from step {failure.step}"
        _say(f"the run ended: {failure.cause}; restart {restart + 1} of {max_restarts} {whence} in {pause:.0f} s")
        child.wait(pause)
        if child.asked_by is not None:
            return exit_status.INTERRUPTED if child.asked_by == signal.SIGINT else exit_status.STOPPED
    return exit_status.FAILED


class _Child:
    """The driver, and the signals that are passed on to it."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.asked_by: int | None = None
        self._process: subprocess.Popen | None = None
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._pass_on)

    def run(self) -> int:
        """Exit status of the command, negative for the signal that killed it."""
        # In a process group of its own: a terminal's Ctrl-C would reach it twice otherwise, directly and from here.
        self._process = subprocess.Popen(self.command, process_group=0)
        return self._process.wait()

    def wait(self, seconds: float) -> None:
        """Sleep, unless a signal asks to stop."""
        deadline = time.monotonic() + seconds
        while self.asked_by is None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked_by = number
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def _cause(run_folder: Path, status: int) -> str:
    if status < 0:
        return f"the driver was killed by {signal.Signals(-status).name}"
    events = read(run_folder)
    starts = [event["start"] for event in events if event.get("event") == "start"]
    ends = [event for event in events if event.get("event") == "end" and event.get("start") in starts[-1:]]
    if ends:
        return str(ends[-1].get("message"))
    # Ray ends the process itself when it has lost its head for a minute.
    return f"the driver ended without a word (exit status {status}): Ray's head may be gone; the log above says more"


def _last_step(run_folder: Path) -> int | None:
    try:
        return tracker.read(run_folder)
    except ValueError:
        return None  # the next start says so and stops


def _without_numbers(cause: str) -> str:
    """Process ids, addresses and times differ between two errors that are one."""
    return re.sub(r"0x[0-9a-f]+|[0-9a-f]{8,}|\d+", "#", cause)


def _say(text: str) -> None:
    print(f"tr-grpo train: {text}", file=sys.stderr, flush=True)
