"""Time on paper: closed forms of the roofline and of slots that are refilled."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_cases import QWEN_3B, node, plan, run

from tr_grpo.trainer.plan.assumptions import Assumptions
from tr_grpo.trainer.plan.devices import CARDS
from tr_grpo.trainer.plan.planning import with_nodes
from tr_grpo.trainer.plan.rollout import lengths, makespan
from tr_grpo.trainer.plan.step_time import collective_seconds, forward_flops

COUNTS = st.lists(st.integers(1, 500), min_size=1, max_size=60)


@given(tokens=COUNTS, spare=st.integers(0, 5))
def test_with_a_slot_for_each_the_longest_decides(tokens: list[int], spare: int) -> None:
    assert makespan(tokens, len(tokens) + spare, lambda active: 2.0) == pytest.approx(2.0 * max(tokens))


@given(tokens=COUNTS)
def test_with_one_slot_all_wait_for_each_other(tokens: list[int]) -> None:
    assert makespan(tokens, 1, lambda active: 0.5) == pytest.approx(0.5 * sum(tokens))


@given(length=st.integers(1, 500), slots=st.integers(1, 20), waves=st.integers(1, 5))
def test_equal_lengths_come_in_full_waves(length: int, slots: int, waves: int) -> None:
    assert makespan([length] * slots * waves, slots, lambda active: float(active)) == (
        pytest.approx(waves * length * slots)
    )


@given(tokens=COUNTS, slots=st.integers(1, 20))
def test_a_batch_takes_between_its_bounds(tokens: list[int], slots: int) -> None:
    """Graham 1969: no list schedule is worse than the mean load plus the longest."""
    seconds = makespan(tokens, slots, lambda active: 1.0)
    assert max(max(tokens), sum(tokens) / slots) - 1e-9 <= seconds <= sum(tokens) / slots + max(tokens)


def test_work_that_is_proportional_to_what_is_in_flight_does_not_depend_on_the_slots() -> None:
    tokens = np.random.default_rng(0).integers(1, 100, 50).tolist()
    for slots in (1, 7, 50):
        assert makespan(tokens, slots, lambda active: float(active)) == pytest.approx(sum(tokens))


def test_lengths_have_the_assumed_mean_and_keep_to_the_limit() -> None:
    setting = node()
    mild = Assumptions(mean_response=0.1, length_sigma=0.5)
    assert lengths(20_000, setting, mild).mean() == pytest.approx(0.1 * setting.response_limit, rel=0.01)
    heavy = lengths(1000, setting, Assumptions(mean_response=0.9, length_sigma=1.5))
    assert heavy.max() == setting.response_limit
    assert heavy.min() >= 1


def test_a_pass_costs_two_operations_a_parameter_and_attention() -> None:
    """Kaplan et al. 2020; PaLM's appendix B counts attention in the same way, here causal."""
    plain = forward_flops(QWEN_3B, 1000, 0)
    assert plain == 2 * QWEN_3B.matmul_parameters * 1000
    assert forward_flops(QWEN_3B, 1000, 4096) - plain == 2 * 36 * 2048 * 4096 * 1000


def test_an_update_with_recomputed_layers_is_four_passes() -> None:
    time = plan(node()).time
    setting, card, assumed = node(), CARDS["H100"], Assumptions()
    forward = forward_flops(QWEN_3B, time.tokens, time.tokens / setting.responses)
    seconds = forward / (4 * card.flops * assumed.train_mfu)
    assert time.update == pytest.approx(4 * seconds)
    # Old and reference log-probabilities.
    assert time.logprobs == pytest.approx(2 * seconds)
    assert plan(replace(node(), checkpointing=False)).time.update == pytest.approx(3 * seconds)


def test_a_collective_is_bandwidth_and_latency_and_nothing_on_one_gpu() -> None:
    setting, card, assumed = node(), CARDS["H100"], Assumptions()
    assert collective_seconds(1e9, 1, setting, card, assumed) == 0
    within = collective_seconds(1e9, 4, setting, card, assumed)
    assert within == pytest.approx(0.75e9 / (450e9 * 0.7) + 3 * 1.5e-5)
    across = collective_seconds(1e9, 4, setting, card, assumed, across=True)
    assert across == pytest.approx(0.75e9 / (50e9 * 0.7) + 3 * 1.5e-5)


def test_a_faster_card_is_never_slower() -> None:
    seconds = [plan(node(), on=name).time.seconds for name in ("A100", "H100", "H200")]
    assert seconds == sorted(seconds, reverse=True)


def test_the_parts_make_the_step_and_gpu_hours_count_every_gpu() -> None:
    made = plan(node())
    assert sum(made.time.parts().values()) == pytest.approx(made.time.seconds)
    assert made.gpu_hours == pytest.approx(made.time.seconds * 4 / 3600)


@given(nodes=st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_arithmetic_shrinks_with_the_gpus_and_the_longest_response_does_not(nodes: int) -> None:
    one, many = (plan(with_nodes(node(), count)).time for count in (1, nodes))
    assert many.update == pytest.approx(one.update / nodes)
    assert many.rollout.decode <= one.rollout.decode * 1.0001
    # The longest response at the least a step can take.
    longest = lengths(node().responses, node(), Assumptions())[-1]
    assert many.rollout.decode >= longest * Assumptions().decode_overhead_s


def test_adapters_cost_less_arithmetic_than_full_weights() -> None:
    words = ("llm=qwen2_5_3b_instruct", "cluster=node_4x80gb")
    lora = plan(run(*words, "actor_rollout_ref.model.lora_rank=32")).time
    assert lora.update == pytest.approx(0.75 * plan(run(*words)).time.update)
