"""Compositions: the same fixed batch is the same update with the same diagnostics, and real runs train and account.

The first half runs real FSDP2 ranks over gloo on one batch. The plain run on one rank is the measure: what cuts,
shards, packs, recomputes or offloads must not be seen in any metric of ours, nor in the weights after the update. LoRA
trains other parameters, so that gradient norm, probe and update are its own; what is told of tokens is not, for B = 0.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from composed_update import CASES
from conftest import Run
from test_engine import ENVIRONMENT, VERLS

RANKS = {
    1: ("plain", "one_by_one", "dynamic", "activation_checkpointing", "offload", "packed", "lora", "lora_with_others"),
    2: ("plain", "offload", "hsdp", "sequence_parallel", "lora"),
    4: ("hsdp_2_x_2", "sequence_parallel"),
}
"""Which cases run on how many ranks."""
SAME_UPDATE = [(width, case) for width, cases in RANKS.items() for case in cases if not case.startswith("lora")]
ADAPTED = [(width, case) for width, cases in RANKS.items() for case in cases if case.startswith("lora")]
OF_THE_PARAMETERS = ("grad_norm", "actor/update/", "actor/sharpness/")
"""What depends on which parameters are trained."""
START = 400.0  # seconds to the first step on a slow machine
pytestmark = pytest.mark.e2e
Results = dict[tuple[int, str], dict[str, Any]]


def run(model: Path, width: int, folder: Path) -> Results:
    """The cases of ``width`` ranks; time-boxed."""
    out = folder / f"{width}.pt"
    script = Path(__file__).with_name("composed_update.py")
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(model), str(out), *RANKS[width]],
            env=os.environ
            | ENVIRONMENT
            | {"RANK": str(rank), "WORLD_SIZE": str(width), "STORE": str(folder / f"store{width}")},
            stdout=subprocess.DEVNULL,
            stderr=(folder / f"{width}-{rank}.log").open("w"),
        )
        for rank in range(width)
    ]
    try:
        statuses = [rank.wait(400) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert statuses == [0] * width, (folder / f"{width}-0.log").read_text()[-3000:]
    loaded: dict[str, Any] = torch.load(out, weights_only=True)
    return {(width, case): result for case, result in loaded.items()}


@pytest.fixture(scope="module")
def results(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("compositions")
    found: Results = {}
    for width in RANKS:
        found |= run(files / "model", width, folder)
    return found


def differing(one: dict[str, float], other: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Metrics of ours that differ by more than the rounding of float32 sums."""
    assert one.keys() == other.keys()
    return {
        key: (value, other[key])
        for key, value in one.items()
        if key not in VERLS and other[key] != pytest.approx(value, rel=1e-5, abs=1e-7)
    }


def test_every_case_is_run_by_the_measured_engine(results: Results) -> None:
    assert {case for _, case in results} == set(CASES)
    assert {result["engine"] for result in results.values()} == {"MeasuredEngine"}


@pytest.mark.parametrize(("width", "case"), SAME_UPDATE)
def test_a_composition_changes_neither_the_update_nor_what_is_told_of_it(
    width: int, case: str, results: Results
) -> None:
    plain, composed = results[1, "plain"], results[width, case]
    assert len(plain["metrics"]) > 60
    assert differing(plain["metrics"], composed["metrics"]) == {}
    assert plain["weights"].keys() == composed["weights"].keys()
    for name, weight in plain["weights"].items():
        torch.testing.assert_close(composed["weights"][name], weight, rtol=0, atol=2e-7)


@pytest.mark.parametrize("case", ["activation_checkpointing", "offload"])
def test_recomputing_and_offloading_change_no_bit(case: str, results: Results) -> None:
    plain, composed = results[1, "plain"], results[1, case]
    assert plain["metrics"] == composed["metrics"]
    for name, weight in plain["weights"].items():
        assert torch.equal(composed["weights"][name], weight), name


@pytest.mark.parametrize(("width", "case"), ADAPTED)
def test_with_adapters_the_tokens_pull_is_the_plain_models(width: int, case: str, results: Results) -> None:
    """At B = 0 the policy is the base model's: every metric of tokens is equal, and those of parameters are not."""
    plain, adapted = results[1, "plain"]["metrics"], results[width, case]["metrics"]
    changed = differing(plain, adapted).keys()
    assert all(key.startswith(OF_THE_PARAMETERS) for key in changed), changed
    assert {"grad_norm", "actor/sharpness/slope", "actor/sharpness/loss_rise"} <= changed
    assert 0 < adapted["grad_norm"] < plain["grad_norm"]
    # The probe moves what has a gradient: the adapters.
    assert adapted["actor/sharpness/slope"] == pytest.approx(adapted["grad_norm"], rel=1e-5)
    assert adapted["actor/sharpness/loss_rise"] > 0


@pytest.mark.parametrize(("width", "case"), ADAPTED)
def test_adapters_alone_are_trained_alike_on_every_width(width: int, case: str, results: Results) -> None:
    plain, alone, adapted = results[1, "plain"], results[1, "lora"], results[width, case]
    assert differing(alone["metrics"], adapted["metrics"]) == {}
    moved = 0
    for name, weight in adapted["weights"].items():
        torch.testing.assert_close(weight, alone["weights"][name], rtol=0, atol=2e-7)
        moved += "lora_B" in name and bool(weight.any())
    assert moved > 0
    # The base is not the plain run's, which has been updated, in a single tensor.
    base = {name: weight for name, weight in adapted["weights"].items() if "lora_" not in name}
    assert len(base) == len(plain["weights"])


def check_steps(run: Run, steps: int) -> None:
    """What every run has to tell, whatever it is composed of."""
    assert list(run.metrics) == list(range(1, steps + 1))
    for step in run.metrics.values():
        assert step["reward/unscored_share"] == 0.0
        assert sum(value for key, value in step.items() if key.startswith("reward/verdict_")) == pytest.approx(1.0)
        shares = ("share_at_lower", "share_in_ramp", "share_at_upper")
        assert sum(step[f"actor/tr/{share}"] for share in shares) == pytest.approx(1.0)
        assert 1.0 < step["actor/tr/weight_mean"] <= 1.4
        assert step["actor/update/grad_norm_max"] >= step["actor/grad_norm"]


def test_adapters_are_trained_sent_to_vllm_and_saved(new_run: Callable[..., Run]) -> None:
    run = new_run(
        "lora", "algo=tr_grpo", "with=[lora,activation_checkpointing,offload]", "trainer.total_training_steps=2",
        "trainer.save_freq=2", "actor_rollout_ref.actor.optim.lr=1e-3",
    )  # fmt: skip
    run.start()
    assert run.wait(START) == 0, run.log[-3000:]
    run.assert_nothing_left()
    check_steps(run, 2)
    for step in run.metrics.values():
        # vLLM's adapters are the actor's: else its log-probabilities would be the base model's after a step of 1e-3.
        assert step["training/rollout_probs_diff_max"] < 1e-3
    checkpoint = run.folder / "global_step_2" / "actor" / "model_world_size_1_rank_0.pt"
    trained = [weight for name, weight in torch.load(checkpoint, weights_only=False).items() if "lora_B" in name]
    assert max(float(weight.to_local().abs().max()) for weight in trained) > 1e-4


def test_generation_goes_on_while_a_step_is_trained(new_run: Callable[..., Run]) -> None:
    run = new_run(
        "async", "algo=tr_grpo", "with=[async,static_batches]", "trainer.total_training_steps=3", "trainer.save_freq=-1"
    )
    run.start()
    assert run.wait(START) == 0, run.log[-3000:]
    run.assert_nothing_left()
    check_steps(run, 3)
    staleness = [step["training/off_policy/trajectory_staleness_worst/max"] for step in run.metrics.values()]
    assert staleness[0] == 0
    assert max(staleness) >= 1


@pytest.mark.drill
def test_a_separate_rollout_is_one_step_behind_and_gets_the_weights_over_gloo(new_run: Callable[..., Run]) -> None:
    run = new_run(
        "one-step-off", "algo=tr_grpo", "with=[one_step_off]", "trainer.total_training_steps=3", "trainer.save_freq=-1"
    )
    run.start()
    assert run.wait(START) == 0, run.log[-3000:]
    run.assert_nothing_left()
    check_steps(run, 3)
    steps = run.metrics
    # The first batch is on-policy in both its mini-batches, although an update lies between them.
    assert steps[1]["training/rollout_probs_diff_max"] < 1e-3
    for key in ("staleness/mean", "staleness/max", "staleness_worst/max"):
        assert [step[f"training/off_policy/trajectory_{key}"] for step in steps.values()] == [0, 1, 1]
    # The second was sampled a step earlier, and the difference is seen, not hidden.
    assert steps[2]["training/rollout_probs_diff_max"] > 1e-3
