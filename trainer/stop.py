"""Stopping a run with its work saved: a request in the run folder, which the process of verl's trainer looks for.

The driver, which gets the signals, and verl's trainer are different processes, on several nodes perhaps of different
machines; what they share is the run folder.
"""

import sys
import threading
from pathlib import Path
from typing import Any

REQUEST = "stop-requested"
POLL_S = 1.0


class StoppedError(Exception):
    """The run ended before its last step because it was asked to; what was done is in a checkpoint."""


def request(run_folder: Path) -> None:
    """Ask the run to end after the step that is under way."""
    (run_folder / REQUEST).touch()


def requested(run_folder: Path) -> bool:
    """True once :func:`request` was called for this start."""
    return (run_folder / REQUEST).exists()


def withdraw(run_folder: Path) -> None:
    """Forget a request; an earlier start's must not end this one."""
    (run_folder / REQUEST).unlink(missing_ok=True)


def watch(run_folder: Path, config: Any) -> None:
    """Look for a request from now on; once there is one, verl saves a checkpoint at the end of the step.

    verl reads ``trainer.save_freq`` anew at each step, from this very config.

    Args:
        run_folder: ``trainer.default_local_dir``.
        config: the trainer's own config object.
    """
    idle = threading.Event()

    def look() -> None:
        while not requested(run_folder):
            idle.wait(POLL_S)
        config.trainer.save_freq = 1
        print("stop requested: a checkpoint follows at the end of this step", file=sys.stderr, flush=True)

    threading.Thread(target=look, name="tr-grpo-stop", daemon=True).start()


def end_after(trainer: Any, step: int) -> None:
    """Let verl's loop end after ``step``, with its metrics logged, as after the last of all steps."""
    trainer.total_training_steps = step
