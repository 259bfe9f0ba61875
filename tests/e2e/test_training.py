"""The real stack, on a CPU: verl's trainer, Ray, FSDP2 over gloo, vLLM rollouts."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from canaries import SECRETS, holders, reachable_from_outside
from conftest import Run

from tr_grpo.analysis.evaluate.samples import SampleFolder
from tr_grpo.analysis.run_folder import open_run

START = 300.0  # seconds to the first step on a slow machine
pytestmark = pytest.mark.e2e
NewRun = Callable[..., Run]


def check_evaluation(folder: Path, tmp_path: Path) -> None:
    """``tr-grpo evaluate`` of the sharded checkpoint makes the responses and scores of the run's own validation."""
    out = tmp_path / "evaluated"
    command = [sys.executable, "-m", "tr_grpo.trainer.cli", "evaluate", str(folder), "--out", str(out)]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    samples = SampleFolder(out / "samples").read(light=False)
    validated = [json.loads(line) for line in (tmp_path / "validated" / "4.jsonl").read_text().splitlines()]
    ours = sorted((sample.response.strip(), round(sample.score or 0.0, 5)) for sample in samples)
    theirs = sorted((row["output"].strip(), round(row["score"], 5)) for row in validated)
    assert len(ours) == len(theirs) == 8
    # Greedy, in float32; but the batches differ, and with them the last bit, which may decide between two tokens.
    assert sum(mine == other for mine, other in zip(ours, theirs, strict=True)) >= 7


def test_grpo_trains_and_vllm_answers_with_the_new_weights(
    new_run: NewRun, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    run = new_run(
        "grpo", "algo=grpo", "trainer.total_training_steps=4", "trainer.save_freq=4", "trainer.test_freq=4",
        "actor_rollout_ref.actor.optim.lr=1e-3", f"trainer.validation_data_dir={tmp_path / 'validated'}",
    )  # fmt: skip
    run.start()
    run.wait_until(lambda: 1 in run.metrics, START)
    assert reachable_from_outside(run.leftovers()) == []
    assert run.wait(180) == 0, run.log[-3000:]
    run.assert_nothing_left()

    metrics = run.metrics
    assert list(metrics) == [1, 2, 3, 4]
    assert 0.0 <= metrics[4]["val-core/knights_knaves/acc/mean@1"] <= 1.0
    for step in metrics.values():
        assert step["reward/unscored_share"] == 0.0
        assert sum(value for key, value in step.items() if key.startswith("reward/verdict_")) == pytest.approx(1.0)
        # vLLM sampled step k's responses after k - 1 weight syncs; the actor's log-probabilities of them agree.
        assert step["training/rollout_probs_diff_max"] < 1e-3
        assert step["actor/tr/weight_mean"] == 1.0  # measured, not weighted
    # A step whose groups each agree on their reward has no advantage, hence no gradient: that is GRPO's own.
    assert max(step["actor/grad_norm"] for step in metrics.values()) > 0

    # The agreement above means something only if the weights moved far: with them, other answers.
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(files / "model").state_dict()
    check_evaluation(run.folder, tmp_path)
    assert holders(run, tmp_path) == []
    after = AutoModelForCausalLM.from_pretrained(run.folder / "global_step_4" / "merged").state_dict()
    assert before.keys() == after.keys()
    moved = max((after[name].float() - before[name].float()).abs().max().item() for name in before)
    assert moved > 1e-3
    model = AutoModelForCausalLM.from_pretrained(files / "model")
    ids = torch.arange(10, 40)[None]
    with torch.no_grad():
        old = model(ids).logits.softmax(-1)
        model.load_state_dict(after)
        new = model(ids).logits.softmax(-1)
    assert (old - new).abs().max() > 0.01


def test_two_data_parallel_workers_and_weight_one_is_grpo_bit_for_bit(new_run: NewRun) -> None:
    run = new_run(
        "checked", "algo=tr_grpo", "trainer.total_training_steps=2", "trainer.save_freq=-1",
        "trainer.n_gpus_per_node=2",
        "actor_rollout_ref.actor.policy_loss._target_=checked_loss.CheckedLossConfig",
        "actor_rollout_ref.actor.policy_loss.loss_mode=checked", "actor_rollout_ref.actor.policy_loss.shape=uniform",
        "reward.reward_kwargs.overlong.mode=mask", "data.max_response_length=40",
    )  # fmt: skip
    run.start()
    assert run.wait(START + 240) == 0, run.log[-3000:]
    run.assert_nothing_left()
    assert list(run.metrics) == [1, 2]
    for step in run.metrics.values():
        assert step["actor/equal_to_verl"] == 1.0
        assert step["actor/tr/weight_mean"] == 1.0
        assert step["training/rollout_probs_diff_max"] < 1e-3
        # Careful responses are cut at 40 tokens and masked; hasty ones have about 30.
        assert 0 < step["actor/counted_length_max"] < 40
    # At first about half the responses are careful: among 32 there are some. Later there may be none.
    assert run.metrics[1]["reward/overlong"] > 0
    assert run.metrics[1]["response_length/max"] == 40
    assert max(step["actor/gradient_at_log_prob"] for step in run.metrics.values()) > 0


def test_tr_grpo_survives_ctrl_c(new_run: NewRun) -> None:
    run = new_run("tr_grpo", "algo=tr_grpo", "trainer.total_training_steps=40", "trainer.save_freq=1")

    run.start()
    run.wait_until(lambda: run.last_checkpoint >= 1 and 1 in run.metrics, START)
    interrupted = time.monotonic()
    run.send(signal.SIGINT)
    assert run.wait(20) == 130
    assert time.monotonic() - interrupted < 20
    run.assert_nothing_left()
    assert "resumes from it" in run.log
    first = run.last_checkpoint
    assert first >= 1

    # Kills are in test_faults.py.
    run.start(f"trainer.total_training_steps={first + 2}")
    assert run.wait(START) == 0, run.log[-3000:]
    run.assert_nothing_left()
    assert run.last_checkpoint == first + 2
    # Each start has a metrics file of its own: nothing measured is lost, and the steps go on.
    assert len(list(run.folder.glob("metrics-*.jsonl"))) == 2
    assert list(run.metrics) == list(range(1, first + 3))
    for step in run.metrics.values():
        assert 1.0 < step["actor/tr/weight_mean"] <= 1.4
        for shares in (
            "share_at_lower share_in_ramp share_at_upper",
            "share_p_0_25 share_p_25_50 share_p_50_75 share_p_75_100",
        ):
            assert sum(step[f"actor/tr/{share}"] for share in shares.split()) == pytest.approx(1.0)
        assert step["actor/update/grad_norm_max"] >= step["actor/grad_norm"]
    check_run_folder(run.folder, first + 2)


def check_run_folder(folder: Path, steps: int) -> None:
    """Interrupted and finished: both starts are told, and what reads a run reads this one."""
    recorded = open_run(folder)
    assert [start.status for start in recorded.starts] == ["interrupted", "done"]
    assert recorded.problems == ()
    assert recorded.steps == steps == max(step for step, _ in recorded.rollouts)
    updates = {(step, update) for step in range(1, steps + 1) for update in (0, 1)}
    assert set(recorded.rollouts) == updates
    page = folder / "page.html"
    for words in (["watch", str(folder), "--once"], ["report", str(folder), "--out", str(page)]):
        done = subprocess.run(
            [sys.executable, "-m", "tr_grpo.trainer.cli", *words], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert page.stat().st_size > 50_000


def test_scoring_errors_are_written_and_stop_the_run(new_run: NewRun) -> None:
    run = new_run("errors", "reward.reward_kwargs.scorer=failing_scorer", "trainer.total_training_steps=2")
    run.start()
    assert run.wait(START + 60) == 1
    run.assert_nothing_left()
    last = run.log.rstrip().splitlines()[-1]
    assert "have no reward" in last or "not one of 32 responses has a reward" in last, last
    (errors,) = run.folder.glob("scoring_errors-*.jsonl")
    record = json.loads(errors.read_text().splitlines()[0])
    assert "(1) " in record["ground_truth"]
    assert "ZeroDivisionError: the scorer's own fault" in record["error"]
    assert record["response"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["algo=trgrpo"], "tr_grpo, tr_grpo_eq9"),
        (["algo=tr_grpo", "actor_rollout_ref.actor.policy_loss.lower=2"], "exceeds upper"),
        (["data.train_files=gone.parquet"], "no such file"),
    ],
)
def test_bad_input_is_one_line_and_status_2_before_ray(new_run: NewRun, overrides: list[str], words: str) -> None:
    run = new_run("bad", *overrides)
    run.start()
    assert run.wait(60) == 2
    lines = [line for line in run.log.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in run.log
    assert not run.folder.exists()
