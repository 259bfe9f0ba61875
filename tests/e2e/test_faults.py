"""Runs on the real stack whose parts are killed, which are preempted, and whose checkpoint is broken."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Run

from tr_grpo.analysis.run_folder import open_run
from tr_grpo.trainer import exit_status
from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.checkpoints.seal import fault
from tr_grpo.trainer.events import read

START = 400.0  # seconds from a start to its first checkpoint on a slow machine
pytestmark = pytest.mark.e2e
NewRun = Callable[..., Run]

# What is killed, by how its command line begins or what it holds.
VICTIMS = {
    "actor worker": "ray::WorkerDict",
    "vLLM's engine": "VLLM::EngineCore",
    "reward worker": "ray::RewardLoopWorker",
    "Ray's head": "gcs_server",
    "driver": "--supervised",
}


def victims(run: Run, name: str) -> list[psutil.Process]:
    found = []
    for process in run.leftovers():
        try:
            if VICTIMS[name] in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def assert_last_checkpoint_is_whole(run: Run) -> int:
    step = tracker.read(run.folder)
    assert step is not None
    assert fault(run.folder / f"{tracker.PREFIX}{step}") is None
    return step


def kill_each(new_run: NewRun, parts: Sequence[str]) -> Run:
    """Start a run and kill its parts one after the other, each at a new checkpoint; it restarts each time."""
    run = new_run(
        "killed", "algo=tr_grpo", "trainer.total_training_steps=1000", "trainer.save_freq=1", "checkpoints.keep=3",
        # An engine may die in the very moment of a weight sync.
        "ray_kwargs.ray_init.runtime_env.env_vars.TR_GRPO_WEIGHT_SYNC_S='30'",
        f"trainer.max_restarts={len(parts)}", "trainer.restart_pause_s=0.1", "data.train_batch_size=4",
    )  # fmt: skip
    run.start()
    step = 0
    for number, part in enumerate(parts, start=1):
        run.wait_until(lambda step=step: run.last_checkpoint > step, START)  # type: ignore[misc]
        killed = victims(run, part)
        assert killed, part
        for process in killed:
            process.kill()
        run.wait_until(lambda number=number: len(restarts(run)) == number, 240.0)  # type: ignore[misc]
        step = assert_last_checkpoint_is_whole(run)
    run.wait_until(lambda: run.last_checkpoint > step, START)
    # Each restart is told in one line, with its cause.
    for event in restarts(run):
        assert event["cause"].strip()
        assert f"the run ended: {event['cause']}; restart" in run.log
    return run


def restarts(run: Run) -> list[dict[str, Any]]:
    return [event for event in read(run.folder) if event["event"] == "restart"]


def preempt(run: Run) -> int:
    """A scheduler's SIGTERM: the step under way is finished and saved; returns that step."""
    at = run.last_checkpoint
    run.send(signal.SIGTERM)
    assert run.wait(120) == exit_status.STOPPED, run.log[-3000:]
    run.assert_nothing_left()
    step = assert_last_checkpoint_is_whole(run)
    assert step >= at
    assert tracker.steps(run.folder)[-1] == step
    return step


def test_a_run_outlives_kills_a_preemption_and_a_broken_checkpoint(new_run: NewRun) -> None:
    before = shared_memory()
    run = kill_each(new_run, ["vLLM's engine", "driver"])
    assert "the driver was killed by SIGKILL" in restarts(run)[-1]["cause"]
    stopped = preempt(run)
    assert len(tracker.steps(run.folder)) <= 3
    assert shared_memory() <= before

    # The newest checkpoint is damaged by hand: the one before it is resumed, and a line says so.
    shard = run.folder / f"{tracker.PREFIX}{stopped}" / "actor" / "model_world_size_1_rank_0.pt"
    shard.write_bytes(shard.read_bytes()[:-100])
    # Nothing can go wrong now, so nothing supervises.
    run.start(f"trainer.total_training_steps={stopped + 1}", "trainer.max_restarts=0")
    assert run.wait(START) == 0, run.log[-3000:]
    run.assert_nothing_left()
    assert f"global_step_{stopped}: actor/model_world_size_1_rank_0.pt has " in run.log
    assert f"; resuming from step {stopped - 1} instead" in run.log
    assert assert_last_checkpoint_is_whole(run) == stopped + 1
    # verl logs a step's metrics after its checkpoint; a kill in between loses them, and the step is not made again.
    steps = range(1, stopped + 2)
    assert set(run.metrics) <= set(steps)
    assert len(steps) - len(run.metrics) <= 2
    assert stopped + 1 in run.metrics
    recorded = open_run(run.folder)
    assert [start.status for start in recorded.starts][-2:] == ["stopped", "done"]
    assert shared_memory() <= before


@pytest.mark.drill
def test_a_run_outlives_the_death_of_each_other_part(new_run: NewRun) -> None:
    before = shared_memory()
    run = kill_each(new_run, ["actor worker", "reward worker", "Ray's head"])
    causes = [event["cause"] for event in restarts(run)]
    assert "WorkerDict" in causes[0]
    assert "died" in causes[0]
    assert "has a reward" in causes[1]
    preempt(run)
    assert shared_memory() <= before
