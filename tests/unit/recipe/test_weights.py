"""The weight family: tabulated values, closed form, monotony, limits, bounds, and no gradient."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tr_grpo.recipe.weights import CLIPPED, SHAPES, TokenWeight

WIDE = {"lower": 1e-6, "upper": 1e6}
"""A clip that nothing reaches, so that the raw value shows."""
LITERAL = {"shape": "literal", "tau": 0.05}
"""The literal reading with a tau for which it is not constant."""


def sigmoid(x: float) -> float:
    """Written out, without overflow: independent of the form in ``recipe/weights.py``."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def formula(w: TokenWeight, p: float) -> float:
    """The table of method.md, clip included."""
    raw = {
        "sigmoid": w.alpha * sigmoid(w.tau * (p - w.mu)),
        "shifted": w.alpha * (sigmoid(w.tau * p) - w.mu),
        "literal": w.alpha * (sigmoid(p / w.tau) - w.mu),
        "reverse": w.alpha * sigmoid(w.tau * (w.mu - p)),
    }
    if w.shape == "linear":
        return 1 - w.a + w.a * p
    return 1.0 if w.shape == "uniform" else min(max(raw[w.shape], w.lower), w.upper)


@st.composite
def weights(draw: st.DrawFn) -> TokenWeight:
    """Every shape, with any knobs that it accepts."""
    shape = draw(st.sampled_from(SHAPES))
    if shape == "uniform":
        return TokenWeight(shape)
    if shape == "linear":
        return TokenWeight(shape, a=draw(st.floats(0.001, 0.999)))
    lower = draw(st.floats(0.01, 2.0))
    knobs = {
        "alpha": draw(st.floats(0.1, 10.0)),
        "tau": draw(st.floats(0.01, 100.0)),
        "mu": draw(st.floats(-0.5, 1.5)),
        "lower": lower,
        "upper": lower + draw(st.floats(0.01, 3.0)),
    }
    try:
        return TokenWeight(shape, **knobs)
    except ValueError as error:
        assume("for every probability" not in str(error))
        raise


@pytest.mark.parametrize(
    ("probability", "ours", "shifted", "literal"),
    [
        (0.0, 0.191, 0.500, 0.500),
        (0.1, 0.412, 0.922, 0.506),
        (0.2, 0.779, 1.216, 0.511),
        (0.25, 1.000, 1.309, 0.514),
        (0.3, 1.221, 1.374, 0.517),
        (0.5, 1.809, 1.478, 0.528),
        (1.0, 1.998, 1.500, 0.556),
    ],
)
def test_the_readings_of_the_formula_have_the_tabulated_values(
    probability: float, ours: float, shifted: float, literal: float
) -> None:
    tensor = torch.tensor(probability, dtype=torch.float64)
    for shape, raw in (("sigmoid", ours), ("shifted", shifted), ("literal", literal)):
        weight = TokenWeight(shape, **WIDE)
        assert weight.at(probability) == pytest.approx(raw, abs=5.1e-4)
        assert weight(tensor).item() == pytest.approx(raw, abs=5.1e-4)
    for shape, raw in (("sigmoid", ours), ("shifted", shifted)):
        assert TokenWeight(shape)(tensor).item() == pytest.approx(min(max(raw, 1.0), 1.4), abs=5.1e-4)
    # Mirrored in mu: the ablation's value at pi is ours at 2 mu - pi, and alpha minus ours at pi.
    assert TokenWeight("reverse", **WIDE)(tensor).item() == pytest.approx(2 - ours, abs=5.1e-4)


def test_the_default_is_our_reading_and_reaches_its_upper_clip_at_0_344() -> None:
    assert TokenWeight() == TokenWeight("sigmoid", alpha=2.0, tau=9.0, mu=0.25, lower=1.0, upper=1.4, a=0.3)
    assert TokenWeight().at(0.25) == 1.0
    assert TokenWeight().at(0.344) < 1.4 == TokenWeight().at(0.3442)


def test_linear_is_advantage_reweighting_and_uniform_is_one() -> None:
    assert TokenWeight("linear").at(0.0) == pytest.approx(0.7)
    assert TokenWeight("linear").at(0.5) == pytest.approx(0.85)
    assert TokenWeight("linear").at(1.0) == pytest.approx(1.0)
    assert torch.equal(TokenWeight("uniform")(torch.rand(7)), torch.ones(7))


@given(weights(), st.floats(0.0, 1.0))
def test_scalar_tensor_and_closed_form_agree(weight: TokenWeight, p: float) -> None:
    # Absolute: 1 + tanh cancels where the sigmoid is tiny, to a few eps of its height alpha <= 10.
    assert weight.at(p) == pytest.approx(formula(weight, p), rel=0, abs=1e-14 * 10)
    assert weight(torch.tensor(p, dtype=torch.float64)).item() == pytest.approx(weight.at(p), rel=0, abs=1e-14 * 10)


@given(weights(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20))
def test_it_never_falls_as_the_probability_rises_except_reversed(weight: TokenWeight, values: list[float]) -> None:
    p = torch.tensor(sorted(values), dtype=torch.float64)
    steps = weight(p).diff() * (-1 if weight.shape == "reverse" else 1)
    # A sigmoid of vectors and of the rest differ in the last bit.
    assert (steps >= -1e-14).all()
    exact = [weight.at(value) for value in sorted(values, reverse=weight.shape == "reverse")]
    assert exact == sorted(exact)


@given(weights(), st.floats(0.0, 1.0), st.sampled_from([torch.float32, torch.float64]))
def test_it_stays_between_its_lowest_and_highest(weight: TokenWeight, p: float, dtype: torch.dtype) -> None:
    w = weight(torch.tensor([p], dtype=dtype)).item()
    slack = 4 * torch.finfo(dtype).eps * weight.highest
    assert weight.lowest - slack <= w <= weight.highest + slack
    assert weight.lowest <= weight.at(p) <= weight.highest
    ends = weight.at(0.0), weight.at(1.0)
    assert (weight.lowest, weight.highest) == (min(ends), max(ends))
    if weight.shape in CLIPPED:
        assert weight.lower <= weight.lowest <= weight.highest <= weight.upper


def test_lowest_and_highest_of_the_defaults() -> None:
    found = {shape: (TokenWeight(shape).lowest, TokenWeight(shape).highest) for shape in SHAPES if shape != "literal"}
    assert found == {
        "sigmoid": (1.0, 1.4),
        "shifted": (1.0, 1.4),
        "reverse": (1.0, 1.4),
        "linear": (0.7, 1.0),
        "uniform": (1.0, 1.0),
    }


@pytest.mark.parametrize("tau", [1e6, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_steep_weight_is_a_step_without_overflow(tau: float, dtype: torch.dtype) -> None:
    p = torch.tensor([0.0, 0.2499, 0.25, 0.2501, 1.0], dtype=dtype)
    steep = TokenWeight(tau=tau, lower=0.5, upper=1.5)
    assert steep(p).tolist() == [0.5, 0.5, 1.0, 1.5, 1.5]
    assert [steep.at(value) for value in p.double().tolist()] == [0.5, 0.5, 1.0, 1.5, 1.5]
    reverse = TokenWeight("reverse", tau=tau, lower=0.5, upper=1.5)
    assert reverse(p).tolist() == [1.5, 1.5, 1.0, 0.5, 0.5]
    shifted = TokenWeight("shifted", tau=tau, lower=0.5, upper=1.5)
    assert shifted(p).tolist() == [0.5, 1.5, 1.5, 1.5, 1.5]
    literal = TokenWeight("literal", tau=1 / tau, lower=0.5, upper=1.5)
    assert literal(p).tolist() == [0.5, 1.5, 1.5, 1.5, 1.5]


@pytest.mark.parametrize("tau", [1e-3, 1e-6])
def test_a_flat_weight_tends_to_half_its_height(tau: float) -> None:
    flat = TokenWeight(tau=tau, lower=0.5)
    assert flat(torch.rand(50, dtype=torch.float64)) == pytest.approx(torch.ones(50), abs=tau)


@pytest.mark.parametrize(
    "weight", [TokenWeight(shape) for shape in SHAPES if shape != "literal"] + [TokenWeight(**LITERAL)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_is_detached_of_the_inputs_type_and_shape_and_the_input_untouched(
    weight: TokenWeight, dtype: torch.dtype
) -> None:
    leaf = torch.rand(3, 4, dtype=dtype, requires_grad=True)
    kept = leaf.detach().clone()
    for probability in (leaf, leaf.detach(), leaf * 1.0, leaf.detach().t()):
        w = weight(probability)
        assert not w.requires_grad
        assert (w.dtype, w.shape) == (dtype, probability.shape)
        assert w.untyped_storage().data_ptr() != probability.untyped_storage().data_ptr()
        assert torch.equal(leaf.detach(), kept)
    # Writing to the result is allowed: the policy loss does.
    weight(leaf).zero_()
    assert torch.equal(leaf.detach(), kept)
    assert weight(leaf).min() > 0


def test_it_can_be_compared_and_hashed_but_not_changed() -> None:
    assert len({TokenWeight(), TokenWeight(tau=9.0), TokenWeight(tau=8.0)}) == 2
    with pytest.raises(AttributeError):
        TokenWeight().tau = 1.0  # type: ignore[misc]
