"""The plan's arithmetic against the peak of real training steps, which torch's profiler measures to the byte."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tr_grpo.trainer.plan import activations
from tr_grpo.trainer.plan.shapes import KNOWN, ModelShape

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from benchmarks import plan_memory
from benchmarks.plan_memory import DEEP, TINY, TOLERANCE, WIDE, Case

CASES = [
    Case(TINY, 2, 128, checkpointing=False),
    Case(TINY, 2, 128, checkpointing=True),
    Case(WIDE, 2, 64, checkpointing=True, temperature=0.6),
    Case(TINY, 2, 64, checkpointing=False, bf16=True),
    Case(DEEP, 2, 64, checkpointing=True),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small operations on many threads wait for each other where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.shape.name}-{case.checkpointing}-{case.bf16}")
def test_a_real_steps_peak_is_predicted(case: Case) -> None:
    """Weights exactly; the activations alone, and AdamW's step, within 15 %."""
    predicted, measured = plan_memory.predict(case), plan_memory.measure(case)
    assert predicted.parameters == measured.parameters
    assert predicted.activations == pytest.approx(measured.activations, rel=TOLERANCE)
    assert predicted.optimizer == pytest.approx(measured.optimizer, rel=0.01)


def test_the_measured_log_probabilities_are_verls() -> None:
    from verl.utils.torch_functional import logprobs_from_logits_v2

    logits, labels = torch.randn(3, 5, 11), torch.randint(0, 11, (3, 5))
    assert torch.equal(plan_memory.logprobs(logits, labels), logprobs_from_logits_v2(logits, labels))


def test_a_layer_is_korthikantis_but_for_what_the_architecture_changes() -> None:
    """They count 34 bytes a token and width for a GPT layer with its dropouts, without its scores (a fused kernel).

    The same sizes here: no dropout masks (-2 after attention and after the MLP); each norm keeps its input in fp32 and
    its normed input beside the output (+4 each, and an fp32 scale); three matrices of 8/3 the width in place of two of
    4.
    """
    h, heads = 4096, 32
    llama = ModelShape("llama", 1, h, 3 * h, heads, heads, h // heads, 32000, False)
    published = 34 * h
    mlp = 8 * llama.intermediate - 2 * (4 * h + 4 * h)
    assert activations.layer_bytes(llama, 2) == published - 2 * h + 2 * (4 * h + 4) + mlp + 4 * heads


def test_recomputing_layers_saves_memory_and_a_larger_micro_batch_costs_in_proportion() -> None:
    shape = KNOWN["Qwen/Qwen2.5-7B"]
    kept = activations.training(shape, 8192, width=2, checkpointing=False)
    recomputed = activations.training(shape, 8192, width=2, checkpointing=True)
    twice = activations.training(shape, 16384, width=2, checkpointing=True)
    assert recomputed.peak < kept.peak
    assert twice.peak == 2 * recomputed.peak


def test_the_logits_are_held_once_more_where_the_temperature_divides_them() -> None:
    shape = KNOWN["Qwen/Qwen2.5-7B"]
    one, other = (activations.training(shape, 1000, width=2, checkpointing=True, temperature=t) for t in (1.0, 0.6))
    assert one.logits == 1000 * shape.vocab * 2
    assert other.logits == 2 * one.logits
    assert activations.training(shape, 1000, width=2, checkpointing=True, fused=True).logits == 0
