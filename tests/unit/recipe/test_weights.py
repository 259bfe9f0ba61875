"""The weight of TR-GRPO: closed form, limits, monotony, no gradient, and which knobs are refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.recipe.weights import SHARES, SigmoidWeight, weight_metrics

PROBABILITY = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.0, 1.0), (0.10, 1.0), (0.20, 1.0), (0.25, 1.0), (0.30, 1.2212788), (0.344, 1.3999), (0.5, 1.4), (1.0, 1.4)],
)
def test_default_weight_has_the_tabulated_values(probability: float, expected: float) -> None:
    weight = SigmoidWeight()
    assert weight.at(probability) == pytest.approx(expected, abs=2e-3)
    assert weight(torch.tensor(probability, dtype=torch.float64)).item() == pytest.approx(weight.at(probability))


@given(PROBABILITY, PROBABILITY)
def test_weight_never_falls_as_the_probability_rises(first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert SigmoidWeight().at(low) <= SigmoidWeight().at(high)


@given(PROBABILITY)
def test_scalar_and_tensor_forms_agree(probability: float) -> None:
    weight = SigmoidWeight(alpha=1.5, tau=4.0, mu=0.6, lower=0.3, upper=1.2)
    raw = 1.5 / (1 + math.exp(-4.0 * (probability - 0.6)))
    assert weight.at(probability) == pytest.approx(min(max(raw, 0.3), 1.2))
    assert weight(torch.tensor(probability, dtype=torch.float64)).item() == pytest.approx(weight.at(probability))


def test_no_gradient_flows_through_the_weight() -> None:
    probability = torch.tensor([0.1, 0.3, 0.9], requires_grad=True)
    assert not SigmoidWeight()(probability).requires_grad


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"lower": 1.5}, "exceeds upper"),
        ({"lower": 0.0}, "lower=0.0 must be positive"),
        ({"alpha": -1.0}, "alpha=-1.0 must be positive"),
        ({"tau": -9.0}, "must not be negative"),
        ({"tau": 0.0}, "plain GRPO"),
        ({"mu": math.nan}, "mu=nan must be a finite number"),
        ({"upper": math.inf}, "upper=inf must be a finite number"),
        ({"alpha": "2"}, "alpha='2' must be a finite number"),
        ({"alpha": True}, "alpha=True must be a finite number"),
        # Never leaves the lower clip, never leaves the upper one, an empty clip range.
        ({"mu": 5.0}, "the weight is 1 for every probability"),
        ({"mu": -5.0}, "the weight is 1.4 for every probability"),
        ({"lower": 1.4}, "the weight is 1.4 for every probability"),
    ],
)
def test_knobs_that_make_no_sense_or_a_constant_weight_are_refused(knobs: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SigmoidWeight(**knobs)


def test_metrics_count_tokens_exactly_and_ignore_the_masked() -> None:
    shape = SigmoidWeight()
    probability = torch.tensor([[0.1, 0.3, 0.9], [0.6, 0.2, 0.7]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    metrics = weight_metrics(probability, shape(probability), mask, shape)
    assert metrics["actor/tr_tokens/all"] == 4
    assert metrics["actor/tr_tokens/at_lower"] == 1
    assert metrics["actor/tr_tokens/in_ramp"] == 1
    assert metrics["actor/tr_tokens/at_upper"] == 2
    assert metrics["actor/tr_tokens/weighted"] == pytest.approx(1.0 + shape.at(0.3) + 1.4 + 1.4)
    assert metrics["actor/tr/weight_mean"] == pytest.approx(metrics["actor/tr_tokens/weighted"] / 4)
    assert [metrics[f"actor/tr/share_{name}"] for name in SHARES] == [0.25, 0.25, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_counts_add_up_over_any_split_into_micro_batches() -> None:
    shape = SigmoidWeight()
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(7, 11, generator=generator)
    mask = torch.rand(7, 11, generator=generator) < 0.7
    whole = weight_metrics(probability, shape(probability), mask, shape)
    parts = [weight_metrics(p, shape(p), m, shape) for p, m in zip(probability.split(3), mask.split(3), strict=True)]
    for key, value in whole.items():
        if key.startswith("actor/tr_tokens/"):
            assert sum(part[key] for part in parts) == pytest.approx(value, rel=1e-6)


def test_keys_are_the_same_for_an_empty_batch_and_finite() -> None:
    shape = SigmoidWeight()
    probability = torch.rand(2, 3)
    none = weight_metrics(probability, shape(probability), torch.zeros(2, 3, dtype=torch.bool), shape)
    some = weight_metrics(probability, shape(probability), torch.ones(2, 3, dtype=torch.bool), shape)
    assert none.keys() == some.keys()
    assert all(math.isfinite(value) for value in none.values())


def test_no_key_contains_a_word_that_verl_reduces_differently() -> None:
    shape = SigmoidWeight()
    probability = torch.rand(2, 3)
    keys = weight_metrics(probability, shape(probability), torch.ones(2, 3), shape)
    assert not [key for key in keys if any(word in key for word in ("min", "max", "sum", "total"))]
