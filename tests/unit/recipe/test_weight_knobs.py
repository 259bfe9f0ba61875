"""Knobs that the weight refuses, with a message that names the key and says what to do."""

import math
import re
from typing import Any

import pytest

from tr_grpo.recipe.weights import SHAPES, TokenWeight


def refusal(**knobs: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        TokenWeight(**knobs)
    return str(caught.value)


def test_an_unknown_shape_is_refused_with_the_known_ones() -> None:
    for shape in ("sigmoidal", "", None):
        assert refusal(shape=shape) == (
            f"shape={shape!r} is not a weight; choose one of: sigmoid, shifted, literal, linear, uniform, reverse"
        )
    assert SHAPES == ("sigmoid", "shifted", "literal", "linear", "uniform", "reverse")


@pytest.mark.parametrize("name", ["alpha", "tau", "mu", "lower", "upper", "a"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "2", True, False, None, [1.0]])
def test_what_is_not_a_finite_number_is_refused(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == f"{name}={value!r} must be a finite number"


@pytest.mark.parametrize("name", ["alpha", "tau", "mu", "lower", "upper"])
@pytest.mark.parametrize("shape", ["linear", "uniform"])
def test_a_knob_of_the_sigmoids_is_refused_where_there_is_no_sigmoid(name: str, shape: str) -> None:
    value = getattr(TokenWeight, name) + 0.5
    assert refusal(shape=shape, **{name: value}) == (
        f"{name}={value} has no effect with shape={shape}: leave one of the two out"
    )


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "linear"])
def test_the_slope_is_refused_where_nothing_is_linear(shape: str) -> None:
    assert refusal(shape=shape, a=0.5) == f"a=0.5 has no effect with shape={shape}: leave one of the two out"


@pytest.mark.parametrize("a", [0.0, 1.0, -0.1, 1.5])
def test_a_slope_outside_0_to_1_is_refused(a: float) -> None:
    assert refusal(shape="linear", a=a) == f"a={a} must be between 0 and 1: the weight has to keep the advantage's sign"


@pytest.mark.parametrize("a", [0.001, 0.999])
def test_a_slope_inside_0_to_1_is_accepted(a: float) -> None:
    assert TokenWeight("linear", a=a).lowest == pytest.approx(1 - a)


@pytest.mark.parametrize("shape", ["sigmoid", "shifted", "literal", "reverse"])
@pytest.mark.parametrize("name", ["alpha", "lower"])
@pytest.mark.parametrize("value", [0, 0.0, -1.0])
def test_a_weight_that_could_turn_the_advantage_is_refused(shape: str, name: str, value: float) -> None:
    text = f"{name}={value} must be positive: the weight has to keep the advantage's sign"
    assert refusal(shape=shape, **{name: value}) == text


def test_a_clip_the_wrong_way_round_is_refused() -> None:
    assert refusal(lower=1.5) == "lower=1.5 exceeds upper=1.4: exchange them or widen the clip"


@pytest.mark.parametrize(("shape", "tau"), [("sigmoid", -9.0), ("shifted", -0.1), ("reverse", -1), ("literal", 0)])
def test_a_tau_that_turns_the_weight_round_is_refused(shape: str, tau: float) -> None:
    assert refusal(shape=shape, tau=tau) == (
        f"tau={tau} must not be negative (literal: nor 0): it has to keep the weight's direction; "
        "shape=reverse emphasises rare tokens"
    )


@pytest.mark.parametrize(
    ("knobs", "value"),
    [
        ({"tau": 0.0}, "1"),
        ({"mu": 5.0}, "1"),  # never leaves the lower clip
        ({"mu": -5.0}, "1.4"),  # never leaves the upper one
        ({"lower": 1.4}, "1.4"),  # an empty clip range
        ({"mu": 1.5, "tau": 100.0}, "1"),  # would vary, but past pi = 1
        ({"shape": "shifted", "tau": 1e3, "mu": -0.3}, "1.4"),
        ({"shape": "literal"}, "1"),  # the values of the re-implementation, as it reads them
        ({"shape": "shifted", "mu": 0.9}, "1"),
        ({"shape": "reverse", "mu": -5.0}, "1"),
    ],
)
def test_a_constant_weight_is_refused_with_its_value_and_knobs(knobs: dict[str, Any], value: str) -> None:
    full = {"shape": "sigmoid", "alpha": 2.0, "tau": 9.0, "mu": 0.25, "lower": 1.0, "upper": 1.4} | knobs
    named = ", ".join(f"{name}={knob}" for name, knob in full.items())
    assert refusal(**knobs) == (
        f"the weight is {value} for every probability with {named}: that is plain GRPO up to a factor; "
        "choose values that vary on [0, 1], or algo=grpo"
    )


@pytest.mark.parametrize(
    "knobs",
    [
        {"shape": "literal", "tau": 0.05},
        {"shape": "literal", "lower": 0.01, "upper": 2.0},
        {"tau": 1},  # YAML writes a whole number without a point
        {"lower": 1, "upper": 2},
        {"lower": 0.1},
        {"shape": "reverse"},
        {"shape": "linear", "a": 0.1},
        {"shape": "uniform"},
    ],
)
def test_other_sets_are_accepted(knobs: dict[str, Any]) -> None:
    weight = TokenWeight(**knobs)
    assert (weight.lowest < weight.highest) == (weight.shape != "uniform")


def test_every_refusal_of_the_defaults_names_the_knob_first() -> None:
    for name in ("alpha", "tau", "mu", "lower", "upper", "a"):
        assert re.match(rf"{name}='x'", refusal(**{name: "x"}))
