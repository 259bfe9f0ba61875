"""The weight of TR-GRPO: closed form, limits, monotony, no gradient, and which knobs are refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.recipe.weights import TokenWeight

PROBABILITY = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.0, 1.0), (0.10, 1.0), (0.20, 1.0), (0.25, 1.0), (0.30, 1.2212788), (0.344, 1.3999), (0.5, 1.4), (1.0, 1.4)],
)
def test_default_weight_has_the_tabulated_values(probability: float, expected: float) -> None:
    weight = TokenWeight()
    assert weight.at(probability) == pytest.approx(expected, abs=2e-3)
    assert weight(torch.tensor(probability, dtype=torch.float64)).item() == pytest.approx(weight.at(probability))


@given(PROBABILITY, PROBABILITY)
def test_weight_never_falls_as_the_probability_rises(first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert TokenWeight().at(low) <= TokenWeight().at(high)


@given(PROBABILITY)
def test_scalar_and_tensor_forms_agree(probability: float) -> None:
    weight = TokenWeight(alpha=1.5, tau=4.0, mu=0.6, lower=0.3, upper=1.2)
    raw = 1.5 / (1 + math.exp(-4.0 * (probability - 0.6)))
    assert weight.at(probability) == pytest.approx(min(max(raw, 0.3), 1.2))
    assert weight(torch.tensor(probability, dtype=torch.float64)).item() == pytest.approx(weight.at(probability))


def test_no_gradient_flows_through_the_weight() -> None:
    probability = torch.tensor([0.1, 0.3, 0.9], requires_grad=True)
    assert not TokenWeight()(probability).requires_grad


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
        TokenWeight(**knobs)
