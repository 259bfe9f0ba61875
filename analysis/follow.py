"""Follows a run that is being written: reads what was appended, and tells whether it still runs."""

import json
import os
import socket
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from tr_grpo.analysis.run_folder import Run, open_run
from tr_grpo.analysis.run_metrics import Metrics, column
from tr_grpo.data_prep.errors import InputError

SILENCE = 300.0
"""Seconds without news that are worth a word, at least; ten steps' time where a step takes longer."""


class State(StrEnum):
    """What a run does. The first three it wrote itself; of a process on another host nothing is known."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RUNNING = "running"
    KILLED = "killed"
    UNKNOWN = "unknown"


@dataclass
class Follower:
    """Reads a run again and again; a metrics file is parsed once.

    A line counts once its line feed is there, so a half-written one waits for the next look.
    """

    folder: Path
    _run: Run | None = None
    _seen: tuple[tuple[str, int, int], ...] = ()
    _read: dict[Path, int] = field(default_factory=dict)
    _metrics: dict[int, Metrics] = field(default_factory=dict)

    def look(self) -> Run:
        """The run as it is now.

        Raises:
            InputError: as ``open_run``; or a whole line that is not one of metrics.
        """
        small = [self.folder / "config.yaml", self.folder / "events.jsonl"]
        seen = tuple((path.name, stat.st_size, stat.st_mtime_ns) for path in small if (stat := _stat(path)))
        files = sorted(self.folder.glob("metrics-*.jsonl"))
        if self._run is None or seen != self._seen or set(files) != set(self._read):
            self._run, self._seen = open_run(self.folder), seen
        if any((stat := _stat(path)) and stat.st_size < self._read.get(path, 0) for path in files):
            self._read, self._metrics = {}, {}  # a file was replaced
        for path in files:
            self._append(path)
        # A last line without a line feed is in what open_run read of a run that has ended.
        metrics = self._run.metrics if not self._metrics else self._metrics
        return replace(self._run, metrics=dict(sorted(metrics.items())))

    def _append(self, path: Path) -> None:
        start = self._read.setdefault(path, 0)
        with path.open("rb") as file:
            file.seek(start)
            whole, feed, _ = file.read().rpartition(b"\n")
        for line in whole.split(b"\n") if feed else ():
            try:
                record = json.loads(line) if line else None
                if record is not None:
                    self._metrics.setdefault(record["step"], {}).update(record["data"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}: a line after byte {start} is not one of metrics; move the file away"
                ) from error
        self._read[path] = start + len(whole) + len(feed)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def state(run: Run) -> State:
    """What the run does, from its last start and, on the same host, from the process."""
    if not run.starts:
        # A run of layout 0 says nothing of itself; it has no more to do after its last step.
        return State.DONE if run.steps and max(run.metrics, default=0) >= run.steps else State.UNKNOWN
    start = run.starts[-1]
    if start.status is not None:
        return State(start.status) if start.status in set(State) else State.UNKNOWN
    if start.pid is None or start.machine.get("host") != socket.gethostname():
        return State.UNKNOWN
    return State.RUNNING if _lives(start.pid, start.time) else State.KILLED


def _lives(pid: int, started: float) -> bool:
    """Whether the process is that of the start, and not a later one with its number."""
    import psutil

    try:
        process = psutil.Process(pid)
        # The start is written by the process itself; a second for clocks that are set.
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= started + 1
    except psutil.NoSuchProcess:
        return False


def silence(run: Run, now: float | None = None) -> float | None:
    """Seconds since a file of the run last changed; None if that is no longer than to be expected."""
    files = [*run.folder.glob("*.jsonl"), *list(run.rollouts.values())[-1:]]
    newest = max((stat.st_mtime for path in files if (stat := _stat(path))), default=None)
    if newest is None:
        return None
    quiet = (time.time() if now is None else now) - newest
    return quiet if quiet > max(SILENCE, 10 * (step_seconds(run) or 0)) else None


def step_seconds(run: Run) -> float | None:
    """Seconds a step: the median of the last 20, and each step's share of the validations."""
    import numpy as np

    steps = column(run.metrics, "timing_s/step")[1]
    if not steps:
        return None
    testing = column(run.metrics, "timing_s/testing")[1]
    return float(np.median(steps[-20:]) + np.sum(testing) / len(steps))


def time_left(run: Run) -> float | None:
    """Seconds until the last step; None where the number of steps or their time is not known."""
    seconds = step_seconds(run)
    if seconds is None or run.steps is None:
        return None
    return max(run.steps - max(run.metrics, default=0), 0) * seconds
