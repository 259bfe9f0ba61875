"""Following a run: what is appended to its files, its state, the time left."""

import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import ACCURACY, Metrics
from watching import line, plain, short

from tr_grpo.analysis.follow import Follower, State, silence, state, step_seconds, time_left
from tr_grpo.analysis.run_folder import Run, open_run
from tr_grpo.data_prep.errors import InputError


def test_what_is_appended_is_seen_and_a_half_line_waits(tmp_path: Path) -> None:
    folder = short(tmp_path / "r", steps=3)
    follower = Follower(folder)
    assert follower.look().metrics == open_run(folder).metrics
    half, rest = line(4, x=1.0)[:20], line(4, x=1.0)[20:]
    with (folder / "metrics-000.jsonl").open("a") as metrics:
        for part in (half, rest[:-1]):
            metrics.write(part)
            metrics.flush()
            assert max(follower.look().metrics) == 3
        metrics.write(rest[-1])
        metrics.flush()
        assert follower.look().metrics[4] == {"x": 1.0}


def test_a_resumed_run_is_merged_as_the_reader_does(tmp_path: Path) -> None:
    folder = short(tmp_path / "r", steps=3)
    follower = Follower(folder)
    follower.look()
    (folder / "metrics-001.jsonl").write_text(line(3, x=1.0) + line(4, x=2.0))
    assert follower.look().metrics == open_run(folder).metrics
    with (folder / "metrics-001.jsonl").open("a") as metrics:
        metrics.write(line(5, x=3.0))
    assert follower.look().metrics == open_run(folder).metrics


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    folder = short(tmp_path / "r", steps=3)
    follower = Follower(folder)
    follower.look()
    (folder / "metrics-000.jsonl").write_text(line(1, x=1.0))
    assert follower.look().metrics == {1: {"x": 1.0}}


def test_only_what_is_new_is_parsed(tmp_path: Path) -> None:
    folder = short(tmp_path / "r", steps=3)
    follower = Follower(folder)
    follower.look()
    path = folder / "metrics-000.jsonl"
    # What was read is spoilt without changing its length: nothing looks at it again.
    path.write_bytes(b"x" * path.stat().st_size + line(4, x=1.0).encode())
    assert max(follower.look().metrics) == 4


@pytest.mark.parametrize("bad", ["not json", "{}", "[1]", "3", '{"step": 9}', '{"step": 9, "data": 3}'])
def test_a_whole_line_that_is_none_of_metrics_is_named(tmp_path: Path, bad: str) -> None:
    folder = short(tmp_path / "r", steps=3)
    follower = Follower(folder)
    follower.look()
    with (folder / "metrics-000.jsonl").open("a") as metrics:
        metrics.write(bad + "\n")
    with pytest.raises(InputError, match=r"metrics-000.jsonl: a line after byte \d+ is not one of metrics"):
        follower.look()


def started(run: Run, **changes: Any) -> Run:
    """The run with its start in another state, on this host."""
    own = {"status": None, "ended": None, "machine": {"host": socket.gethostname()}, "time": time.time()}
    return replace(run, starts=(replace(run.starts[-1], **(own | changes)),))


def test_the_state_is_that_of_the_process_on_its_host_alone(tmp_path: Path) -> None:
    run = open_run(short(tmp_path / "r"))
    assert state(run) is State.DONE
    assert state(started(run, pid=os.getpid())) is State.RUNNING
    assert state(started(run, pid=2**22 + 1)) is State.KILLED
    # A process that began long after the run has only its number.
    assert state(started(run, pid=os.getpid(), time=1.0)) is State.KILLED
    assert state(started(run, pid=os.getpid(), machine={"host": "elsewhere"})) is State.UNKNOWN
    assert state(started(run, pid=2**22 + 1, machine={"host": "elsewhere"})) is State.UNKNOWN
    assert state(started(run, status="failed")) is State.FAILED
    assert "the run did not say that it ended" in " ".join(plain(started(run, pid=2**22 + 1)).split())


def test_an_old_run_is_done_with_its_last_step(tmp_path: Path) -> None:
    folder = short(tmp_path / "r", layout=0)
    assert state(open_run(folder)) is State.DONE
    lines = (folder / "metrics-000.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics-000.jsonl").write_text("".join(lines[:-1]))
    assert state(open_run(folder)) is State.UNKNOWN


def test_silence_is_told_where_the_run_may_still_run(tmp_path: Path) -> None:
    folder = short(tmp_path / "r")
    run = started(open_run(folder), pid=os.getpid())
    assert silence(run) is None
    for path in [*folder.glob("*.jsonl"), *folder.glob("rollouts/*")]:
        os.utime(path, (time.time() - 3600,) * 2)
    assert silence(run) == pytest.approx(3600, abs=60)
    assert "no news for 1:00:0" in plain(run)
    assert "no news" not in plain(open_run(folder))
    slow = {step: metrics | {"timing_s/step": 1000.0} for step, metrics in run.metrics.items()}
    assert silence(replace(run, metrics=slow)) is None


def test_time_left_is_steps_times_their_median_and_the_validations_share(tmp_path: Path) -> None:
    def change(step: int, metrics: Metrics) -> Metrics:
        seconds = {"timing_s/step": 100.0 if step == 1 else 3.0} if step else {}
        return metrics | seconds | ({"timing_s/testing": 8.0} if ACCURACY in metrics and step else {})

    run = open_run(short(tmp_path / "r", steps=10, change=change))
    assert step_seconds(run) == pytest.approx(3.0 + 2 * 8.0 / 10)
    run = started(run, pid=os.getpid())
    half = replace(run, metrics={step: own for step, own in run.metrics.items() if step <= 5})
    assert time_left(half) == pytest.approx(5 * (3.0 + 8.0 / 5))
    assert "step 5 of 10 23 s left" in plain(half).replace("0 min ", "")
    assert time_left(run) == 0


def test_the_newest_file_of_responses_that_is_whole_is_shown(tmp_path: Path) -> None:
    folder = short(tmp_path / "r")
    (folder / "rollouts" / "step-000013-update-00.parquet").write_bytes(b"PAR1 half")
    assert "last response: step 12" in plain(open_run(folder))
