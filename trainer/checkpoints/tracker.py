"""``latest_checkpointed_iteration.txt``, from which verl learns where to resume: it names sealed checkpoints only."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.checkpoints.seal import SEAL, fault, write_whole

TRACKER = "latest_checkpointed_iteration.txt"
PREFIX = "global_step_"


@dataclass(frozen=True)
class Resume:
    """Where a run would resume.

    Attributes:
        named: the step that the tracker names.
        step: the step to resume from; None where none of the checkpoints is whole.
        problem: what is wrong with the named checkpoint, or None.
        unsealed: the named checkpoint was written before checkpoints were sealed, so nothing is known of it.
    """

    named: int
    step: int | None
    problem: str | None = None
    unsealed: bool = False


def step_of(checkpoint: Path) -> int | None:
    """N of ``global_step_N``, None for any other folder."""
    number = checkpoint.name.removeprefix(PREFIX)
    return int(number) if checkpoint.name.startswith(PREFIX) and number.isdecimal() else None


def steps(run_folder: Path) -> list[int]:
    """The steps of all checkpoints, whole or not, in order."""
    return sorted(step for path in run_folder.glob(f"{PREFIX}*") if (step := step_of(path)) is not None)


def read(run_folder: Path) -> int | None:
    """The step that the tracker names, None without a tracker.

    Raises:
        ValueError: it holds no number.
    """
    path = run_folder / TRACKER
    return int(path.read_text("utf-8")) if path.is_file() else None


def write(run_folder: Path, step: int) -> None:
    """Name ``step``; verl's own way truncates the file first."""
    write_whole(run_folder / TRACKER, str(step))


def resume(run_folder: Path) -> Resume | None:
    """Where the run would resume: the named checkpoint, else the newest whole one before it. None without a tracker.

    Later checkpoints are never taken: they may be another run's, started afresh in the same folder.

    Raises:
        ValueError: the tracker holds no number.
    """
    named = read(run_folder)
    if named is None:
        return None
    folder = run_folder / f"{PREFIX}{named}"
    if folder.is_dir() and not any((run_folder / f"{PREFIX}{step}" / SEAL).is_file() for step in steps(run_folder)):
        return Resume(named, named, unsealed=True)
    problem = fault(folder)
    if problem is None:
        return Resume(named, named)
    earlier = [step for step in reversed(steps(run_folder)) if step < named]
    whole = next((step for step in earlier if fault(run_folder / f"{PREFIX}{step}") is None), None)
    return Resume(named, whole, f"{folder.name}: {problem}")


def settle(run_folder: Path) -> Resume | None:
    """Make the tracker name a whole checkpoint before verl reads it; None where there is nothing to resume.

    Raises:
        InputError: the tracker cannot be read, or no checkpoint is whole.
    """
    try:
        found = resume(run_folder)
    except ValueError as error:
        raise InputError(f"{run_folder / TRACKER} does not hold a step number; remove it to start again") from error
    if found is None:
        return None
    if found.step is None:
        raise InputError(
            f"{run_folder}: {found.problem}, and no earlier checkpoint is whole; restore one, or remove {TRACKER} to "
            "start again"
        )
    if found.step != found.named:
        write(run_folder, found.step)
    return found


def keep_newest(run_folder: Path, keep: int | None) -> list[int]:
    """Remove the oldest sealed checkpoints up to the one that the tracker names, which always stays.

    Args:
        run_folder: holds the checkpoints.
        keep: how many stay; None keeps all.

    Returns:
        The steps that were removed.
    """
    latest = read(run_folder)
    if keep is None or latest is None:
        return []
    sealed = [step for step in steps(run_folder) if (run_folder / f"{PREFIX}{step}" / SEAL).is_file()]
    old = [step for step in sealed if step <= latest][: -max(keep, 1)]
    for step in old:
        folder = run_folder / f"{PREFIX}{step}"
        # The seal goes first: a removal that is cut short leaves no folder that looks whole.
        (folder / SEAL).unlink()
        shutil.rmtree(folder)
    return old
