"""Faults that take long: a full disk, NaN, a hanging reward, a jumping clock, a dead node, a resume to the bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MARK, Run
from two_nodes import join, start_ray, two_nodes, why_not

from tr_grpo.analysis.run_folder import open_run
from tr_grpo.trainer import exit_status
from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.checkpoints.seal import fault
from tr_grpo.trainer.launch import attach

START = 400.0
pytestmark = [pytest.mark.e2e, pytest.mark.drill]
NewRun = Callable[..., Run]


def last_line(run: Run) -> str:
    return next(line for line in reversed(run.log.splitlines()) if line.startswith("error: "))


def whole(folder: Path) -> int | None:
    """The step that the tracker names, which must be whole."""
    step = tracker.read(folder)
    assert step is None or fault(folder / f"{tracker.PREFIX}{step}") is None
    return step


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that can be filled up; a run asks for 1 GiB at its start."""
    if os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_is_full_in_a_checkpoint_leaves_the_one_before(new_run: NewRun, small_disk: Path) -> None:
    folder = small_disk / "run"
    run = new_run(
        "full", "trainer.save_freq=1", "trainer.total_training_steps=99", f"trainer.default_local_dir={folder}"
    )
    run.folder.symlink_to(folder, target_is_directory=True)  # the log beside it stays on the roomy disk
    run.start()
    run.wait_until(lambda: run.last_checkpoint >= 1, START)
    # Half a checkpoint stays free.
    checkpoint = sum(path.stat().st_size for path in (folder / "global_step_1").rglob("*") if path.is_file())
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - checkpoint // 2)
    assert run.wait(START) == 1, run.log[-3000:]
    run.assert_nothing_left()
    step = whole(folder)
    assert step is not None
    assert step < 99
    assert "No space left on device" in last_line(run) or "file write failed" in last_line(run), last_line(run)
    # With room again, the same command goes on.
    filler.unlink()
    run.start(f"trainer.total_training_steps={step + 1}")
    assert run.wait(START) == 0, run.log[-3000:]
    assert whole(folder) == step + 1


def test_gradients_that_stay_nan_end_the_run_with_the_cause(new_run: NewRun) -> None:
    run = new_run(
        "nan", "algo=tr_grpo", "actor_rollout_ref.actor.policy_loss._target_=nan_loss.NaNLossConfig",
        "actor_rollout_ref.actor.policy_loss.loss_mode=nan_gradient", "trainer.total_training_steps=30",
        "trainer.save_freq=1",
    )  # fmt: skip
    run.start()
    assert run.wait(START) == 1, run.log[-3000:]
    run.assert_nothing_left()
    assert "the gradient norm was nan in 10 updates in a row, so none of them was applied" in last_line(run)
    assert whole(run.folder) is not None
    skipped = [step["actor/update/skipped"] for step in run.metrics.values()]
    assert skipped[0] == 0.0
    assert skipped[-1] == 1.0


def test_a_reward_that_hangs_ends_the_run_with_the_cause(new_run: NewRun) -> None:
    run = new_run(
        "hangs", "reward.reward_kwargs.scorer=hanging_scorer", "trainer.total_training_steps=9", "trainer.save_freq=1",
        "trainer.v1.sampler.sampler_kwargs.max_silence_s=20",
    )  # fmt: skip
    run.start()
    assert run.wait(START) == 1, run.log[-3000:]
    run.assert_nothing_left()
    assert "nothing came for 20 s" in last_line(run)
    assert "reward.reward_kwargs.pool" in last_line(run)
    assert whole(run.folder) == 1


def test_a_clock_that_jumps_does_not_stop_a_run(new_run: NewRun, tmp_path: Path) -> None:
    """libfaketime shifts what each process of the run takes for the time of day, in mid-run, by a day and back."""
    libraries = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    if not libraries:
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    os.environ.update(
        LD_PRELOAD=str(libraries[0]), FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1",
    )  # fmt: skip
    try:
        run = new_run("clock", "algo=tr_grpo", "trainer.total_training_steps=9", "trainer.save_freq=3")
        run.start()
    finally:
        for name in [name for name in os.environ if name.startswith("FAKETIME")]:
            del os.environ[name]
        del os.environ["LD_PRELOAD"]
    run.wait_until(lambda: 2 in run.metrics, START)
    clock.write_text("+86400")
    run.wait_until(lambda: 5 in run.metrics, 120)
    clock.write_text("-86400")
    assert run.wait(START) == 0, run.log[-3000:]
    run.assert_nothing_left()
    assert list(run.metrics) == list(range(1, 10))
    assert whole(run.folder) == 9
    # The jumps did arrive: the run ended before it began.
    (start,) = open_run(run.folder).starts
    assert start.ended is not None
    assert start.ended < start.time


DETERMINISTIC = (
    "algo=tr_grpo", "trainer.use_v1=false", "trainer.save_freq=2", "actor_rollout_ref.rollout.full_determinism=true",
    "actor_rollout_ref.actor.fsdp_config.full_determinism=true", "data.seed=1", "trainer.total_training_steps=4",
    # On a CPU vLLM 0.24.0 cannot cut a prompt whose request has a seed.
    "actor_rollout_ref.rollout.enable_chunked_prefill=false",
)  # fmt: skip


def state(run: Run, step: int) -> dict[str, Any]:
    """Weights, optimizer, schedule and random numbers of a checkpoint, and its place in the data."""
    folder = run.folder / f"{tracker.PREFIX}{step}"
    files = [*(folder / "actor").glob("*.pt"), folder / "data.pt"]
    return {file.name: torch.load(file, weights_only=False) for file in files}


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nested states differ in any bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [found for key in one for found in differing(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        pairs = enumerate(zip(one, other, strict=True))
        return [found for i, (mine, theirs) in pairs for found in differing(mine, theirs, f"{path}/{i}")]
    if isinstance(one, torch.Tensor):
        local = [x.to_local() if hasattr(x, "to_local") else x for x in (one, other)]
        return [] if torch.equal(*local) else [path]
    if hasattr(one, "tobytes"):
        return [] if one.tobytes() == other.tobytes() else [path]
    return [] if one == other else [path]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(new_run: NewRun) -> None:
    straight = new_run("straight", *DETERMINISTIC)
    straight.start()
    assert straight.wait(START) == 0, straight.log[-3000:]
    broken = new_run("broken", *DETERMINISTIC)
    broken.start()
    broken.wait_until(lambda: broken.last_checkpoint == 2, START)
    broken.send(signal.SIGKILL)
    broken.wait(10)
    broken.assert_nothing_left(seconds=60)
    broken.start()
    assert broken.wait(START) == 0, broken.log[-3000:]
    assert differing(state(straight, 4), state(broken, 4)) == []
    timeless = [
        {key: value for key, value in run.metrics[4].items() if not key.startswith(("timing", "perf", "actor/perf"))}
        for run in (straight, broken)
    ]
    assert json.dumps(timeless[0], sort_keys=True) == json.dumps(timeless[1], sort_keys=True)


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_node_that_dies_is_named_and_the_run_goes_on_with_another(
    new_run: NewRun, files: Path, tmp_path: Path
) -> None:
    """One of two nodes loses its power; the restart says what is missing, and with a spare node the run goes on."""
    with two_nodes([files, tmp_path], ("node-a", "node-b", "node-c")) as (head, worker, spare):
        cluster = start_ray(head, worker)
        run = new_run(
            "dies", "algo=tr_grpo", "trainer.total_training_steps=50", "trainer.save_freq=1",
            "trainer.max_restarts=2", "trainer.restart_pause_s=1", *attach.overrides(2, 1),
        )  # fmt: skip

        def start(*overrides: str) -> None:
            words = [sys.executable, "-m", "tr_grpo.trainer.main", *run.overrides, *overrides]
            log = run.folder.parent / f"{run.folder.name}.log"
            run.process = head.start(words, log, cluster.environment | {MARK: run.mark})

        start()
        run.wait_until(lambda: run.last_checkpoint >= 1, 2 * START)
        worker.kill()
        # The run fails with its cause, is started again, and each time the preflight misses a node.
        assert run.wait(600) == exit_status.BAD_INPUT, run.log[-3000:]
        assert run.log.count("the preflight refused the restart") == 2
        assert "TR548" in last_line(run) or "TR549" in last_line(run)
        assert head.name in last_line(run)
        step = whole(run.folder)
        assert step is not None
        join(cluster, spare)
        start(f"trainer.total_training_steps={step + 1}")
        assert run.wait(2 * START) == 0, run.log[-3000:]
        assert whole(run.folder) == step + 1
        assert f"ip={spare.address})" in run.log


def prompts(folder: Path) -> dict[int, list[str]]:
    """The prompts of each step, sorted: V1 takes responses in the order in which they finish."""
    dumped = {int(path.stem): path.read_text().splitlines() for path in folder.glob("*.jsonl")}
    return {step: sorted(json.loads(line)["input"] for line in lines) for step, lines in dumped.items()}


def test_a_resumed_fast_run_goes_on_in_the_data_the_schedule_and_the_optimizer(new_run: NewRun, tmp_path: Path) -> None:
    fast = ("algo=tr_grpo", "data.seed=1", "trainer.total_training_steps=4", "trainer.save_freq=1",
            "actor_rollout_ref.actor.optim.lr_warmup_steps=8")  # fmt: skip
    straight = new_run("straight", *fast, f"trainer.rollout_data_dir={tmp_path / 'straight_rollouts'}")
    straight.start()
    assert straight.wait(START) == 0, straight.log[-3000:]
    broken = new_run("broken", *fast, f"trainer.rollout_data_dir={tmp_path / 'broken_rollouts'}")
    broken.start()
    broken.wait_until(lambda: broken.last_checkpoint == 2, START)
    broken.send(signal.SIGTERM)
    assert broken.wait(120) == exit_status.STOPPED, broken.log[-3000:]
    stopped = whole(broken.folder)
    assert stopped is not None
    assert 2 <= stopped < 4
    broken.start()
    assert broken.wait(START) == 0, broken.log[-3000:]
    seen = prompts(tmp_path / "straight_rollouts")
    assert sorted(seen) == [1, 2, 3, 4]
    assert seen == prompts(tmp_path / "broken_rollouts")
    assert len({prompt for step in seen.values() for prompt in step}) > 8
    for key in ("actor/lr", "training/epoch"):
        assert [step[key] for step in straight.metrics.values()] == [step[key] for step in broken.metrics.values()]
    # AdamW counts its updates: two a step.
    counts = {
        run.folder.name: {float(entry["step"]) for entry in optimizer(run, 4)["state"].values()}
        for run in (straight, broken)
    }
    assert counts == {"straight": {8.0}, "broken": {8.0}}


def optimizer(run: Run, step: int) -> dict[str, Any]:
    path = run.folder / f"{tracker.PREFIX}{step}" / "actor" / "optim_world_size_1_rank_0.pt"
    return torch.load(path, weights_only=False)
