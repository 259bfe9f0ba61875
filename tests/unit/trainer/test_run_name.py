"""What a run leaves outside its folder carries its name, and only that is removed."""

import os
import subprocess
import sys
from importlib import metadata
from multiprocessing import shared_memory
from pathlib import Path

import pytest

from tr_grpo.trainer import run_name

MAKES_TWO = """
import os
from multiprocessing import resource_tracker, shared_memory
from tr_grpo.trainer import run_name
run_name.name_segments()
made = [shared_memory.SharedMemory(create=True, size=size) for size in (16, 4096)]
for segment in made:
    resource_tracker.unregister(segment._name, "shared_memory")
print(*(segment.name for segment in made), flush=True)
os._exit(0)
"""


def made_by(**variables: str) -> list[str]:
    """Names of the segments that a process makes and leaves behind."""
    kept = {name: value for name, value in os.environ.items() if name != run_name.VARIABLE}
    command = [sys.executable, "-c", MAKES_TWO]
    return subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=True).stdout.split()


def test_what_a_run_left_is_removed_and_nobody_elses() -> None:
    mine, other = run_name.new(), run_name.new()
    left = made_by(**{run_name.VARIABLE: mine})
    others = made_by(**{run_name.VARIABLE: other})
    outside = made_by()
    socket = Path("/tmp") / f"rl-colocate-zmq-{mine}-01000000-replica-0-rank-0.sock"
    socket.touch()
    try:
        assert run_name.remove_left(mine) == sorted([*left, socket.name])
        assert run_name.remove_left(mine) == []
        for name in (*others, *outside):
            assert (run_name.SEGMENTS / name).exists()
        assert all(name.startswith("psm_") for name in outside)
    finally:
        for name in (*others, *outside):
            (run_name.SEGMENTS / name).unlink()


def test_python_still_names_its_segments_as_we_expect() -> None:
    assert shared_memory._SHM_NAME_PREFIX == run_name.PYTHONS  # type: ignore[attr-defined]
    # At least two random bytes must fit behind the prefix.
    longest = shared_memory._SHM_SAFE_NAME_LENGTH  # type: ignore[attr-defined]
    assert longest - len(run_name.segment_prefix(run_name.new())) >= 4


def test_another_python_is_refused_within_a_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_SHM_NAME_PREFIX", "/other_")
    monkeypatch.delenv(run_name.VARIABLE, raising=False)
    run_name.name_segments()
    monkeypatch.setenv(run_name.VARIABLE, "abcde")
    with pytest.raises(RuntimeError, match="names its shared memory differently"):
        run_name.name_segments()


def test_vllm_is_told_to_name_its_segments() -> None:
    names = {entry.name: entry.value for entry in metadata.entry_points(group="vllm.general_plugins")}
    assert names["tr_grpo_run"] == "tr_grpo.trainer.run_name:name_segments"
