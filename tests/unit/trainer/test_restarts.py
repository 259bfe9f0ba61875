"""Restarts of a driver that fails, with real processes: small scripts that end as drivers do."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.trainer import exit_status
from tr_grpo.trainer.restarts import LONGEST_PAUSE_S, Failure, pause_before

DRIVER = """
    import os, signal, sys, time
    from pathlib import Path
    from tr_grpo.trainer.checkpoints import tracker
    from tr_grpo.trainer.events import append

    folder = Path(sys.argv[1])
    starts = folder / "starts"
    n = int(starts.read_text()) + 1 if starts.exists() else 1
    starts.write_text(str(n))
    append(folder, {"event": "start", "start": n})

    def fail(message):
        append(folder, {"event": "end", "start": n, "status": "failed", "message": message})
        sys.exit(1)
"""
SUPERVISOR = """
    import sys
    from pathlib import Path
    from tr_grpo.trainer.restarts import supervise
    folder = Path(sys.argv[1])
    sys.exit(supervise([sys.executable, str(folder / "driver.py"), str(folder)], folder, int(sys.argv[2]), 0.01))
"""


def start(folder: Path, body: str, max_restarts: int) -> subprocess.Popen:
    (folder / "driver.py").write_text(textwrap.dedent(DRIVER) + textwrap.dedent(body))
    (folder / "supervisor.py").write_text(textwrap.dedent(SUPERVISOR))
    command = [sys.executable, str(folder / "supervisor.py"), str(folder), str(max_restarts)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def supervised(folder: Path, body: str, max_restarts: int = 3) -> tuple[int, str, int]:
    """Exit status, what was said, and how often the driver was started."""
    process = start(folder, body, max_restarts)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said, int((folder / "starts").read_text())


def test_a_failed_run_is_started_again_and_its_cause_is_told(tmp_path: Path) -> None:
    status, said, starts = supervised(
        tmp_path, "if n < 3:\n    tracker.write(folder, n)\n    fail(f'RayError: {n} lost')"
    )
    assert (status, starts) == (0, 3)
    assert "RayError: 1 lost; restart 1 of 3 from step 1 in 0 s" in said
    assert "RayError: 2 lost; restart 2 of 3 from step 2 in 0 s" in said
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["restart"] for event in events if event["event"] == "restart"] == [1, 2]


def test_the_number_of_restarts_is_kept(tmp_path: Path) -> None:
    status, said, starts = supervised(tmp_path, "tracker.write(folder, n); fail('RayError: lost')", max_restarts=2)
    assert (status, starts) == (exit_status.FAILED, 3)
    assert "gave up after 2 restarts (trainer.max_restarts): RayError: lost" in said


def test_an_error_that_would_come_a_third_time_is_not_waited_for(tmp_path: Path) -> None:
    status, said, starts = supervised(tmp_path, "fail(f'ValueError: pid {os.getpid()} at 0x7f{n:04x}a')")
    assert (status, starts) == (exit_status.FAILED, 2)
    assert "the same error twice without a checkpoint in between: ValueError" in said


def test_a_driver_that_ends_without_a_word_is_not_given_an_earlier_ones(tmp_path: Path) -> None:
    """Ray ends its driver so once its head is gone."""
    body = "if n == 1:\n    fail('RayError: lost')\nif n == 2:\n    os._exit(1)"
    status, said, starts = supervised(tmp_path, body)
    assert (status, starts) == (0, 3)
    assert said.count("RayError: lost") == 1
    assert "the driver ended without a word (exit status 1): Ray's head may be gone" in said


def test_a_kill_comes_from_outside_and_may_not_come_again(tmp_path: Path) -> None:
    status, said, starts = supervised(tmp_path, "if n < 4: os.kill(os.getpid(), signal.SIGKILL)")
    assert (status, starts) == (0, 4)
    assert said.count("the driver was killed by SIGKILL") == 3


@pytest.mark.parametrize("status", [0, exit_status.BAD_INPUT, exit_status.STOPPED, exit_status.INTERRUPTED])
def test_what_a_restart_cannot_help_is_not_started_again(tmp_path: Path, status: int) -> None:
    assert supervised(tmp_path, f"sys.exit({status})")[::2] == (status, 1)


def test_a_restart_that_is_refused_is_tried_again_for_the_missing_node_may_come(tmp_path: Path) -> None:
    body = "if n == 1:\n    fail('ActorDiedError: node lost')\nif n < 4:\n    sys.exit(2)"
    status, said, starts = supervised(tmp_path, body)
    assert (status, starts) == (0, 4)
    assert said.count("the preflight refused the restart") == 2


def test_a_restart_that_is_always_refused_ends_as_bad_input(tmp_path: Path) -> None:
    status, said, starts = supervised(tmp_path, "fail('lost') if n == 1 else sys.exit(2)", max_restarts=2)
    assert (status, starts) == (exit_status.BAD_INPUT, 3)
    assert "gave up after 2 restarts" in said


def test_what_a_killed_driver_leaves_behind_is_stopped_before_the_next_start(tmp_path: Path) -> None:
    body = """
    import subprocess
    if n == 1:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        (folder / "pid").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    import psutil
    assert not psutil.pid_exists(int((folder / "pid").read_text()))
    """
    assert supervised(tmp_path, body)[0] == 0
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_s_signal_is_passed_on_and_its_end_is_final(tmp_path: Path, number: signal.Signals) -> None:
    body = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
    (folder / "ready").touch()
    time.sleep(60)
    """
    process = start(tmp_path, body, 3)
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode == exit_status.STOPPED
    assert (tmp_path / "starts").read_text() == "1"


def test_an_interrupt_of_the_supervisor_alone_reaches_the_driver(tmp_path: Path) -> None:
    """As ``kill -INT`` does; a terminal's Ctrl-C takes the same way, once."""
    body = """
    interrupts = []
    signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))
    (folder / "ready").touch()
    while not interrupts:
        time.sleep(0.05)
    time.sleep(0.5)
    sys.exit(130 if len(interrupts) == 1 else 1)
    """
    process = start(tmp_path, body, 3)
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == exit_status.INTERRUPTED


def test_a_signal_that_kills_a_driver_too_young_to_save_is_no_failure(tmp_path: Path) -> None:
    process = start(tmp_path, '(folder / "ready").touch()\ntime.sleep(60)', 3)
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == exit_status.STOPPED
    assert (tmp_path / "starts").read_text() == "1"


@given(st.integers(1, 60), st.floats(0.01, 60))
def test_pauses_double_and_end_at_the_longest(restart: int, first: float) -> None:
    pause = pause_before(restart, first)
    assert 0 < pause <= LONGEST_PAUSE_S
    assert pause_before(1, first) == first
    assert pause_before(restart + 1, first) == min(2 * pause, LONGEST_PAUSE_S)


def test_an_error_repeats_by_its_words_at_the_same_step() -> None:
    one = Failure("ActorDiedError: pid 17 at 0xabc", False, 3)
    assert Failure("ActorDiedError: pid 4 at 0xdef", False, 3).repeats(one)
    assert not Failure("ActorDiedError: pid 4 at 0xdef", False, 4).repeats(one)
    assert not Failure("OSError: pid 4 at 0xdef", False, 3).repeats(one)
    assert not one.repeats(None)
    assert not Failure(one.cause, True, 3).repeats(Failure(one.cause, True, 3))
