"""One run, on the real stack, in which everything that it consists of is killed once, and a checkpoint is broken."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

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


def test_a_run_outlives_the_death_of_each_of_its_parts(new_run: NewRun) -> None:
    run = new_run(
        "killed", "algo=tr_grpo", "trainer.total_training_steps=1000", "trainer.save_freq=1", "checkpoints.keep=3",
        # An engine may die in the very moment of a weight sync.
        "ray_kwargs.ray_init.runtime_env.env_vars.TR_GRPO_WEIGHT_SYNC_S='30'",
        f"trainer.max_restarts={len(VICTIMS)}", "trainer.restart_pause_s=0.1", "data.train_batch_size=4",
    )  # fmt: skip
    before = shared_memory()
    run.start()
    step = 0
    for number, name in enumerate(VICTIMS, start=1):
        run.wait_until(lambda step=step: run.last_checkpoint > step, START)  # type: ignore[misc]
        killed = victims(run, name)
        assert killed, name
        for process in killed:
            process.kill()
        run.wait_until(
            lambda number=number: len([e for e in read(run.folder) if e["event"] == "restart"]) == number, 240.0
        )  # type: ignore[misc]
        step = assert_last_checkpoint_is_whole(run)

    run.wait_until(lambda: run.last_checkpoint > step, START)
    # A preemption: the step under way is finished and saved.
    asked, at = time.monotonic(), run.last_checkpoint
    run.send(signal.SIGTERM)
    assert run.wait(120) == exit_status.STOPPED, run.log[-3000:]
    assert time.monotonic() - asked < 120
    run.assert_nothing_left()
    assert shared_memory() <= before
    stopped = assert_last_checkpoint_is_whole(run)
    assert stopped >= at
    assert tracker.steps(run.folder)[-1] == stopped
    assert len(tracker.steps(run.folder)) <= 3

    causes = [event["cause"] for event in read(run.folder) if event["event"] == "restart"]
    assert all(cause.strip() for cause in causes)
    assert "driver was killed by SIGKILL" in causes[-1]
    assert "died" in causes[0].lower(), causes
    # Each restart is told in one line, with the cause.
    for cause in causes:
        assert f"the run ended: {cause}; restart" in run.log

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
    assert list(run.metrics) == list(range(1, stopped + 2))
    recorded = open_run(run.folder)
    assert [start.status for start in recorded.starts][-2:] == ["stopped", "done"]
    assert shared_memory() <= before
