"""The tracker names sealed checkpoints only, and what it names is what verl loads."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.checkpoints.seal import SEAL, fault, seal


def make(run_folder: Path, step: int, sealed: bool = True) -> Path:
    checkpoint = run_folder / f"global_step_{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "data.pt").write_text(f"position {step}")
    if sealed:
        seal(checkpoint)
    return checkpoint


def verl_finds(run_folder: Path) -> str | None:
    from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

    return find_latest_ckpt_path(str(run_folder))


def test_verl_reads_what_we_write(tmp_path: Path) -> None:
    assert verl_finds(tmp_path) is None
    checkpoint = make(tmp_path, 12)
    tracker.write(tmp_path, 12)
    assert verl_finds(tmp_path) == str(checkpoint)
    assert tracker.read(tmp_path) == 12


@settings(deadline=None, max_examples=40)
@given(states=st.lists(st.sampled_from(["whole", "unsealed", "cut", "gone"]), min_size=1, max_size=5))
def test_after_settling_verl_loads_the_newest_whole_one_up_to_the_named(
    tmp_path_factory: pytest.TempPathFactory, states: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    make(folder, 1)  # where sealing began
    for step, state in enumerate(states, start=2):
        checkpoint = make(folder, step, sealed=state != "unsealed")
        if state == "cut":
            (checkpoint / "data.pt").write_text("posi")
        if state == "gone":
            checkpoint.rename(folder / f"elsewhere-{step}")
    named = len(states) + 1
    make(folder, named + 5)  # another run's, later
    tracker.write(folder, named)
    whole = [1, *(step for step, state in enumerate(states, start=2) if state == "whole")]
    found = tracker.settle(folder)
    assert found is not None
    assert found.step == tracker.read(folder) == max(whole)
    assert (found.problem is None) == (states[-1] == "whole")
    assert verl_finds(folder) == str(folder / f"global_step_{max(whole)}")
    assert fault(folder / f"global_step_{max(whole)}") is None


def test_nothing_whole_is_one_line_that_names_the_folder(tmp_path: Path) -> None:
    make(tmp_path, 3)
    (tmp_path / "global_step_3/data.pt").write_text("")
    tracker.write(tmp_path, 3)
    with pytest.raises(InputError, match=r"data.pt has 0 bytes.*no earlier checkpoint is whole"):
        tracker.settle(tmp_path)
    assert tracker.read(tmp_path) == 3


@pytest.mark.parametrize("content", ["", "five", "3\x00"])
def test_an_unreadable_tracker_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / tracker.TRACKER).write_text(content)
    with pytest.raises(InputError, match="does not hold a step number"):
        tracker.settle(tmp_path)


def test_without_a_tracker_there_is_nothing_to_resume(tmp_path: Path) -> None:
    make(tmp_path, 3)
    assert tracker.settle(tmp_path) is None


@given(
    present=st.sets(st.integers(1, 12), min_size=1),
    keep=st.one_of(st.none(), st.integers(0, 4)),
    pick=st.integers(0, 11),
)
@settings(deadline=None, max_examples=40)
def test_keeping_removes_the_oldest_and_never_the_named(
    tmp_path_factory: pytest.TempPathFactory, present: set[int], keep: int | None, pick: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    for step in present:
        make(folder, step)
    latest = sorted(present)[pick % len(present)]
    tracker.write(folder, latest)
    removed = tracker.keep_newest(folder, keep)
    left = set(tracker.steps(folder))
    assert left | set(removed) == present
    assert not left & set(removed)
    assert latest in left
    assert {step for step in present if step > latest} <= left
    if keep is not None:
        assert len([step for step in left if step <= latest]) == min(
            max(keep, 1), len([s for s in present if s <= latest])
        )
    for step in left:
        assert (folder / f"global_step_{step}" / SEAL).is_file()


def test_a_folder_that_is_no_checkpoint_is_let_be(tmp_path: Path) -> None:
    for name in ("global_step_", "global_step_3x", "global_step_-1", "rollouts"):
        (tmp_path / name).mkdir()
    assert tracker.steps(tmp_path) == []
