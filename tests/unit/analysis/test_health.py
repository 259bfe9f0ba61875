"""Each fault raises its own code and no other; a healthy run raises none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import Made, Metrics, config, events, make_run, step_metrics

from tr_grpo.analysis.health import RULES, check
from tr_grpo.analysis.run_folder import Run, Start, open_run

Change = Callable[[int, Metrics], Metrics]


def made(change: Change | None = None, algo: str = "tr_grpo", steps: int = 80, seed: int = 0, updates: int = 2) -> Run:
    """A run in memory; ``change`` edits the metrics of each step after training began."""
    plan = Made(algo=algo, steps=steps, seed=seed, updates=updates)
    noise = np.random.default_rng(seed)
    metrics = {step: step_metrics(plan, step, noise) for step in range(steps + 1)}
    if change is not None:
        metrics = {step: change(step, own) if step else own for step, own in metrics.items()}
    start = Start(0, 0.0, steps, ledger=events(plan)[0]["ledger"])
    return Run(Path("/nonexistent"), 1, config(Path("run"), plan), metrics, (start,), ())


def codes(run: Run) -> list[str]:
    return [finding.code for finding in check(run)]


def constant(**changes: float) -> Change:
    return lambda step, metrics: metrics | {key.replace("__", "/"): value for key, value in changes.items()}


def scaled(key: str, factor: Callable[[int], float]) -> Change:
    return lambda step, metrics: metrics | {key: metrics[key] * factor(step)}


def without(key: str, change: Change) -> Change:
    def edit(step: int, metrics: Metrics) -> Metrics:
        return {name: value for name, value in change(step, metrics).items() if name != key}

    return edit


FAULTS: dict[str, tuple[str, Change]] = {
    "most groups have one reward": ("TR801", constant(reward__groups_without_signal=0.7)),
    "no advantage in an older run": (
        "TR801",
        without("reward/groups_without_signal", constant(critic__advantages__max=0.0, critic__advantages__min=0.0)),
    ),
    "all at the length limit": ("TR802", constant(reward__overlong=0.95)),
    "all truncated, an older run": ("TR802", without("reward/overlong", constant(reward__verdict_truncated=0.8))),
    "entropy collapses": ("TR803", scaled("actor/entropy", lambda step: 0.9**step)),
    "nothing is ever clipped": ("TR804", constant(actor__pg_clipfrac=0.0)),
    "the weight is at its upper end": (
        "TR805",
        constant(actor__tr__informative=0.0, actor__tr__share_at_upper=0.999, actor__tr__share_at_lower=0.0),
    ),
    "the weight saturates later": (
        "TR805",
        lambda step, metrics: metrics | ({"actor/tr/informative": 0.0} if step > 55 else {}),
    ),
    "a scorer raised once": (
        "TR806",
        lambda step, metrics: metrics | ({"reward/unscored_share": 0.03} if step == 7 else {}),
    ),
    "judging ends in errors": ("TR806", constant(reward__verdict_error=0.001)),
    "judging times out": ("TR806", constant(reward__verdict_timeout=0.05)),
    "one gradient spike": ("TR807", scaled("actor/update/grad_norm_max", lambda step: 30.0 if step == 60 else 1.0)),
    "a skipped update": ("TR807", lambda step, metrics: metrics | {"actor/update/skipped": 0.5 * (step == 9)}),
    "log-probabilities apart": ("TR808", constant(training__rollout_probs_diff_mean=0.02)),
    "log-probabilities drift apart": (
        "TR808",
        scaled("training/rollout_probs_diff_mean", lambda step: 1.045**step),
    ),
    "throughput falls": ("TR809", scaled("perf/throughput", lambda step: 0.4 if step > 60 else 1.0)),
    "a NaN": ("TR810", lambda step, metrics: metrics | ({"actor/pg_loss": float("nan")} if step == 3 else {})),
    "an infinity": ("TR810", lambda step, metrics: metrics | ({"critic/x": float("inf")} if step == 3 else {})),
    "away from the sampling policy": ("TR811", constant(actor__ppo_kl=-0.4)),
    "away from the reference": ("TR811", constant(actor__kl_loss=3.0)),
    "the reward falls": ("TR812", scaled("critic/score/mean", lambda step: 1.0 if step < 50 else 0.3)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_raises_its_code_and_no_other(fault: str) -> None:
    code, change = FAULTS[fault]
    assert codes(made(change)) == [code]


def from_step(first: int, key: str, value: float) -> Change:
    return lambda step, metrics: metrics | {key: value if step >= first else metrics[key]}


def spike(times: float) -> Change:
    norm = "actor/update/grad_norm_max"
    return lambda step, metrics: metrics | {norm: times if step == 60 else 1.0 + 0.01 * (step % 3)}


# Just inside and just beyond each threshold that docs/watch.md names.
THRESHOLDS: dict[str, tuple[str, Change, Change]] = {
    "half of the groups": (
        "TR801",
        constant(reward__groups_without_signal=0.49),
        constant(reward__groups_without_signal=0.51),
    ),
    "half of the responses": ("TR802", constant(reward__overlong=0.49), constant(reward__overlong=0.51)),
    "a tenth of the entropy": (
        "TR803",
        lambda step, metrics: metrics | {"actor/entropy": 1.0 if step < 60 else 0.11},
        lambda step, metrics: metrics | {"actor/entropy": 1.0 if step < 60 else 0.09},
    ),
    "one per cent of time-outs": (
        "TR806",
        constant(reward__verdict_timeout=0.009),
        constant(reward__verdict_timeout=0.011),
    ),
    "five medians": ("TR807", spike(4.9), spike(5.2)),
    "0.005 of probability": (
        "TR808",
        constant(training__rollout_probs_diff_mean=0.0049),
        constant(training__rollout_probs_diff_mean=0.0051),
    ),
    "60 % of the throughput": (
        "TR809",
        lambda step, metrics: metrics | {"perf/throughput": 1000.0 if step < 50 else 610.0},
        lambda step, metrics: metrics | {"perf/throughput": 1000.0 if step < 50 else 590.0},
    ),
    "0.1 nats": ("TR811", constant(actor__ppo_kl=0.099), constant(actor__ppo_kl=0.101)),
    "1 nat": ("TR811", constant(actor__kl_loss=0.99), constant(actor__kl_loss=1.01)),
    "half of the gain": (
        "TR812",
        lambda step, metrics: metrics | {"critic/score/mean": 0.0 if step <= 20 else 1.0 if step <= 50 else 0.51},
        lambda step, metrics: metrics | {"critic/score/mean": 0.0 if step <= 20 else 1.0 if step <= 50 else 0.49},
    ),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_rule_speaks_beyond_its_threshold_and_not_before(name: str) -> None:
    code, inside, beyond = THRESHOLDS[name]
    assert codes(made(inside)) == []
    assert codes(made(beyond)) == [code]


@pytest.mark.parametrize(
    ("code", "change", "steps"),
    [
        ("TR801", constant(reward__groups_without_signal=0.9), 10),
        ("TR802", constant(reward__overlong=0.9), 10),
        ("TR803", scaled("actor/entropy", lambda step: 1.0 if step <= 5 else 0.01), 20),
        ("TR804", constant(actor__pg_clipfrac=0.0), 50),
        ("TR805", constant(actor__tr__informative=0.0), 10),
        ("TR808", constant(training__rollout_probs_diff_mean=0.1), 10),
        ("TR809", from_step(15, "perf/throughput", 10.0), 30),
        ("TR811", constant(actor__ppo_kl=1.0), 10),
        ("TR812", from_step(41, "critic/score/mean", -1.0), 60),
    ],
)
def test_a_rule_needs_the_steps_that_are_documented(code: str, change: Change, steps: int) -> None:
    assert codes(made(change, steps=steps - 1)) == []
    assert codes(made(change, steps=steps)) == [code]


def test_every_rule_has_a_fault_and_a_place_in_the_documentation() -> None:
    raised = {code for code, _ in FAULTS.values()}
    assert len(raised) == len(RULES)
    text = (Path(__file__).parents[3] / "docs" / "watch.md").read_text()
    for rule in RULES:
        code = (rule.__doc__ or "")[:5]
        assert code in raised
        assert f'<a id="{code.lower()}"></a>' in text


@given(
    seed=st.integers(0, 2**32 - 1),
    algo=st.sampled_from(["grpo", "tr_grpo"]),
    steps=st.sampled_from([0, 1, 5, 25, 60, 150]),
    updates=st.sampled_from([1, 2]),
)
def test_healthy_runs_are_silent(seed: int, algo: str, steps: int, updates: int) -> None:
    assert codes(made(None, algo, steps, seed, updates)) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_step_or_two_say_nothing_unless_one_is_enough(fault: str) -> None:
    code, change = FAULTS[fault]
    assert set(codes(made(change, steps=2))) <= ({code} if code in ("TR806", "TR810") else set())


@pytest.mark.parametrize("missing", ["", "reward/", "actor/", "perf/", "training/", "critic/"])
def test_missing_keys_raise_nothing(missing: str) -> None:
    def drop(_: int, metrics: Metrics) -> Metrics:
        return {key: value for key, value in metrics.items() if not key.startswith(missing)}

    assert codes(made(drop)) == []


def test_a_solved_task_may_lose_its_entropy() -> None:
    collapse = FAULTS["entropy collapses"][1]
    assert codes(made(lambda step, metrics: collapse(step, metrics) | {"reward/acc": 0.97})) == []


def test_one_update_a_step_cannot_clip() -> None:
    assert codes(made(constant(actor__pg_clipfrac=0.0), updates=1)) == []


def test_a_loss_without_a_clip_is_not_blamed_for_that() -> None:
    run = made(constant(actor__pg_clipfrac=0.0))
    run.config["actor_rollout_ref"]["actor"]["policy_loss"]["base_loss"] = "gpg"
    assert codes(run) == []


def test_grpo_and_the_control_have_no_weight_to_saturate() -> None:
    change = constant(actor__tr__informative=0.0)
    assert codes(made(change, algo="grpo")) == []
    control = made(change)
    control.config["actor_rollout_ref"]["actor"]["policy_loss"]["shape"] = "uniform"
    assert codes(control) == []


def test_verls_clip_ratio_of_the_batchs_longest_is_no_truncation() -> None:
    assert codes(made(constant(response_length__clip_ratio=0.9))) == []


def test_a_batch_with_a_signal_after_some_without_is_no_spike() -> None:
    quiet = scaled("actor/update/grad_norm_max", lambda step: 0.0 if 30 < step < 60 and step % 7 else 1.0)
    assert codes(made(quiet)) == []


def test_easy_and_hard_data_are_told_apart() -> None:
    fixes = []
    for right in (0.95, 0.05):
        (finding,) = check(made(constant(reward__groups_without_signal=0.9, reward__acc=right)))
        fixes.append(finding.fix)
    assert "harder data" in fixes[0]
    assert "easier data" in fixes[1]


def test_a_finding_has_its_numbers_and_the_key_to_change() -> None:
    (finding,) = check(made(FAULTS["throughput falls"][1]))
    assert "tokens a second" in finding.message
    assert "gpu_memory_utilization" in finding.fix
    assert str(finding).startswith("TR809 warning: ")


def test_a_file_of_scoring_errors_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Made(steps=3, responses=0))
    assert check(open_run(folder)) == []
    (folder / "scoring_errors-host-1.jsonl").write_text("{}\n")
    (finding,) = check(open_run(folder))
    assert finding.code == "TR806"
    assert "scoring_errors-host-1.jsonl" in finding.message


def test_a_metric_that_is_no_number_is_passed_over() -> None:
    assert codes(made(lambda step, metrics: metrics | {"actor/entropy": None, "x": "text", "y": [1]})) == []  # type: ignore[dict-item]
