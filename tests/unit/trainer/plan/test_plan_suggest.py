"""Suggested settings fit, are all needed, and mean what composing them gives."""

from dataclasses import replace

import pytest
from plan_cases import QWEN_7B, node, plan, run

from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.plan.devices import CARDS
from tr_grpo.trainer.plan.planning import make
from tr_grpo.trainer.plan.setting import read
from tr_grpo.trainer.plan.shapes import KNOWN, ModelShape
from tr_grpo.trainer.plan.suggest import SHARE, apply, roomier, suggest

RUNS: list[tuple[tuple[str, ...], str]] = [
    (("llm=qwen2_5_7b", "cluster=gpu_1"), "Qwen/Qwen2.5-7B"),
    (("llm=qwen2_5_7b", "cluster=node_8x80gb"), "Qwen/Qwen2.5-7B"),
    (("llm=base_model", "cluster=node_8x80gb"), "Qwen/Qwen2.5-32B"),
    (("llm=qwen2_5_3b_instruct", "task=math_deepscaler", "cluster=node_4x80gb"), "Qwen/Qwen2.5-3B"),
    (("llm=qwen2_5_0_5b_instruct", "cluster=gpu_1"), "Qwen/Qwen2.5-0.5B"),
]
PAIRS = [(words, name, card) for words, name in RUNS for card in CARDS]


@pytest.mark.parametrize(("words", "name", "card"), PAIRS, ids=lambda value: str(value).rpartition("/")[2][-24:])
def test_a_suggestion_fits_and_each_change_is_needed(words: tuple[str, ...], name: str, card: str) -> None:
    made = plan(run(*words), KNOWN[name], card)
    found = suggest(made)
    assert bool(found.overrides) == (not made.fits)
    assert found.plan.fits, found.left
    for key in found.overrides:
        fewer = apply(made.run, {other: value for other, value in found.overrides.items() if other != key})
        tokens = min(fewer.update_tokens, fewer.logprob_tokens) * fewer.sequence_parallel
        assert tokens < fewer.longest or not make(made.shape, fewer, made.card, made.assumed).fits


@pytest.mark.parametrize(("words", "name", "card"), [PAIRS[0], PAIRS[6], PAIRS[12], PAIRS[18]])
def test_pasting_a_suggestion_gives_the_planned_run(words: tuple[str, ...], name: str, card: str) -> None:
    found = suggest(plan(run(*words), KNOWN[name], card))
    assert found.overrides
    pasted = read(compose([*words, *(f"{key}={value}" for key, value in found.overrides.items())]))
    # What of the log-probabilities' default follows the update is said either way.
    assert replace(pasted, logprob_follows=True) == replace(found.plan.run, logprob_follows=True)


def test_what_cannot_fit_is_said_and_not_glossed_over() -> None:
    # One layer alone is far larger than the card, on however many GPUs it is spread.
    giant = ModelShape("giant", 2, 65536, 4 * 65536, 512, 512, 128, 1000, False)
    found = suggest(plan(run("llm=qwen2_5_7b", "cluster=node_8x80gb"), giant, "RTX4090"))
    assert found.left
    assert not found.plan.fits


def test_ulysses_is_not_suggested_where_verl_refuses_it() -> None:
    long = run("llm=qwen2_5_3b_instruct", "task=math_deepscaler", "cluster=node_4x80gb")
    key = "actor_rollout_ref.actor.ulysses_sequence_parallel_size"
    assert key in suggest(plan(long, on="RTX4090")).overrides
    assert key not in suggest(plan(replace(long, packed=False), on="RTX4090")).overrides


def test_a_share_of_nothing_is_raised() -> None:
    found = suggest(plan(replace(node(), gpu_memory_utilization=0.0)))
    assert set(found.overrides) == {SHARE}
    assert found.plan.fits


def test_a_run_that_fits_is_left_alone() -> None:
    assert not suggest(plan(node())).overrides


def test_more_room_for_the_cache_is_named_where_it_is_what_limits_the_rollout() -> None:
    tight = plan(replace(node(), gpu_memory_utilization=0.15))
    assert tight.fits
    assert tight.time.rollout.limited_by == "KV cache"
    share = roomier(tight)
    assert share is not None
    roomy = plan(apply(tight.run, {SHARE: f"{share:g}"}))
    assert roomy.fits
    assert roomy.time.seconds < tight.time.seconds
    assert roomier(plan(node())) is None


def test_the_order_of_the_knobs_prefers_what_costs_nothing() -> None:
    made = plan(replace(node(), checkpointing=False), QWEN_7B)
    assert next(iter(suggest(made).overrides)) == "actor_rollout_ref.model.enable_gradient_checkpointing"
