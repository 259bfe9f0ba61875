"""Value and gradient of the loss, token by token, against formulas written out by hand.

The formulas say which tokens are clipped by comparing r with the clips, not by taking a minimum as verl does.
"""

import math

import pytest
import torch
from loss_cases import DUAL, HIGH, LOW, MODES, actor, batch, value_and_gradient
from torch import Tensor
from verl.trainer.ppo.core_algos import get_policy_loss_fn

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss
from tr_grpo.recipe.weights import TokenWeight

PROBABILITIES = (0.01, 0.25, 0.3, 0.9)
"""On the lower clip of w, in its middle at 1 (alpha / 2), on the ramp, on the upper clip."""


def default_weight(p: float) -> float:
    return min(max(2 / (1 + math.exp(-9 * (p - 0.25))), 1.0), 1.4)


def clipped_term(ratio: float, a: float, dual: float = DUAL) -> tuple[float, float]:
    """min(r A, clip(r) A) with the dual clip, and its derivative by log r: r A, or 0 where a clip holds it."""
    if a >= 0:
        return (ratio * a, ratio * a) if ratio <= 1 + HIGH else ((1 + HIGH) * a, 0.0)
    if ratio < 1 - LOW:
        return (1 - LOW) * a, 0.0
    return (ratio * a, ratio * a) if ratio < dual else (dual * a, 0.0)


def one_token(pi: float, ratio: float, a: float) -> dict[str, Tensor]:
    def cell(value: float) -> Tensor:
        return torch.tensor([[value]], dtype=torch.float64)

    return {
        "log_prob": cell(math.log(pi)),
        "old_log_prob": cell(math.log(pi) - math.log(ratio)),
        "advantages": cell(a),
        "response_mask": cell(1.0).bool(),
    }


RATIOS = (
    0.5,
    1 - LOW - 1e-6,
    1 - LOW + 1e-6,
    0.9,
    1.0,
    1.1,
    1 + HIGH - 1e-6,
    1 + HIGH + 1e-6,
    2.0,
    DUAL - 1e-6,
    DUAL + 1e-6,
    9.0,
)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("a", [1.5, -0.7])
def test_a_token_has_the_value_and_gradient_by_hand_inside_and_outside_each_clip(ratio: float, a: float) -> None:
    for pi in PROBABILITIES:
        value, gradient = value_and_gradient(one_token(pi, ratio, a), actor())
        term, slope = clipped_term(ratio, a)
        assert value.item() == pytest.approx(-default_weight(pi) * term, rel=1e-12)
        assert gradient.item() == pytest.approx(-default_weight(pi) * slope, rel=1e-12)


def test_the_two_signs_are_clipped_on_opposite_sides() -> None:
    """The hand formula itself, in words: 1 is a gradient, 0 none, for r below, inside, above the clip, above c."""
    active = {a: [clipped_term(r, a)[1] != 0 for r in (0.5, 1.0, 2.0, 9.0)] for a in (1.0, -1.0)}
    assert active == {1.0: [True, True, False, False], -1.0: [False, True, True, False]}


@pytest.mark.parametrize("a", [1.5, -0.7])
@pytest.mark.parametrize("shift", [0.25, -0.25])
def test_exactly_at_a_clip_a_token_keeps_its_gradient(a: float, shift: float) -> None:
    """r is bit for bit 1 + eps or 1 - eps: both branches are equal there, and together they have a whole gradient."""
    tensors = one_token(0.5, 1.0, a)
    tensors["log_prob"][:] = -0.5
    tensors["old_log_prob"][:] = -0.5 - shift
    ratio = (tensors["log_prob"] - tensors["old_log_prob"]).exp().item()
    config = actor(high=ratio - 1) if shift > 0 else actor(low=1 - ratio)
    value, gradient = value_and_gradient(tensors, config)
    assert value.item() == gradient.item() == pytest.approx(-1.4 * ratio * a, rel=1e-14)


def test_exactly_at_the_dual_clip_a_token_has_half_its_gradient() -> None:
    """verl's minimum of r A and c A shares the derivative at a tie: any value between none and all is one."""
    tensors = one_token(0.5, 1.0, -0.7)
    tensors["log_prob"][:] = -0.5
    tensors["old_log_prob"][:] = -1.5
    value, gradient = value_and_gradient(tensors, actor(dual=math.e))
    assert value.item() == pytest.approx(1.4 * math.e * 0.7, rel=1e-14)
    assert gradient.item() == pytest.approx(0.5 * 1.4 * math.e * 0.7, rel=1e-14)


def whole_by_hand(tensors: dict[str, Tensor], mode: str) -> tuple[float, Tensor]:
    """Loss and gradient of a batch from the tokens', with each mode's factor written out."""
    mask = tensors["response_mask"]
    rows, length = mask.shape
    total, gradient = 0.0, torch.zeros(rows, length, dtype=torch.float64)
    for i in range(rows):
        for t in range(length):
            if not mask[i, t]:
                continue
            factor = {
                "token-mean": 1 / mask.sum().item(),
                "token-sum": 1.0,
                "seq-mean-token-sum": 1 / rows,
                "seq-mean-token-mean": 1 / rows / mask[i].sum().item(),
                "seq-mean-token-sum-norm": 1 / rows / length,
            }[mode]
            log_prob, a = tensors["log_prob"][i, t].item(), tensors["advantages"][i, t].item()
            term, slope = clipped_term(math.exp(log_prob - tensors["old_log_prob"][i, t].item()), a)
            w = default_weight(math.exp(log_prob))
            total -= factor * w * term
            gradient[i, t] = -factor * w * slope
    return total, gradient


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_has_the_value_and_gradient_by_hand(mode: str) -> None:
    tensors = batch()
    value, gradient = value_and_gradient(tensors, actor(), loss_agg_mode=mode)
    expected, expected_gradient = whole_by_hand(tensors, mode)
    # rel 1e-8 where verl adds 1e-8 to a sequence's number of tokens.
    assert value.item() == pytest.approx(expected, rel=2e-8)
    torch.testing.assert_close(gradient, expected_gradient, rtol=2e-8, atol=1e-15)
    counted = tensors["response_mask"]
    assert 0 < (gradient[counted] == 0).sum() < counted.sum()


def test_the_gradient_is_that_of_a_loss_whose_weight_is_a_constant() -> None:
    """By finite differences of the loss with w frozen at the start; with w free they differ, so the test can fail."""
    tensors = one_token(0.3, 1.05, 1.0)
    _, gradient = value_and_gradient(tensors, actor())
    step = 1e-6

    def at(shift: float, w: float | None) -> float:
        moved = tensors | {"log_prob": tensors["log_prob"] + shift}
        if w is None:
            return tr_grpo_loss(**moved, config=actor())[0].item()
        return w * get_policy_loss_fn("vanilla")(**moved, config=actor())[0].item()

    frozen = (at(step, default_weight(0.3)) - at(-step, default_weight(0.3))) / (2 * step)
    free = (at(step, None) - at(-step, None)) / (2 * step)
    assert gradient.item() == pytest.approx(frozen, rel=1e-8)
    assert abs(gradient.item() - free) > 0.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("placement", ["advantage", "ratio"])
def test_weight_one_equals_verls_loss_bit_for_bit(mode: str, dtype: torch.dtype, placement: str) -> None:
    tensors = batch(dtype=dtype)
    uniform = actor(TRGRPOLossConfig(shape="uniform", placement=placement))
    ours, our_gradient = value_and_gradient(tensors, uniform, loss_agg_mode=mode)
    vanilla = get_policy_loss_fn("vanilla")
    verls, verl_gradient = value_and_gradient(tensors, actor(), vanilla, loss_agg_mode=mode)
    assert torch.equal(ours, verls)
    assert torch.equal(our_gradient, verl_gradient)
    _, our_metrics = tr_grpo_loss(**tensors, loss_agg_mode=mode, config=uniform)
    assert our_metrics == vanilla(**tensors, loss_agg_mode=mode, config=actor())[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_of_each_token_is_the_baselines_times_its_weight(dtype: torch.dtype) -> None:
    tensors = batch(dtype=dtype)
    _, weighted = value_and_gradient(tensors, actor())
    _, plain = value_and_gradient(tensors, actor(), get_policy_loss_fn("vanilla"))
    torch.testing.assert_close(weighted, TokenWeight()(tensors["log_prob"].detach().exp()) * plain)


def test_linear_of_the_old_probability_is_advantage_reweighting() -> None:
    tensors = batch()
    knobs = TRGRPOLossConfig(shape="linear", a=0.3, probability="old")
    value, gradient = value_and_gradient(tensors, actor(knobs))
    reweighted = tensors | {"advantages": (0.3 * tensors["old_log_prob"].exp() + 1 - 0.3) * tensors["advantages"]}
    expected, expected_gradient = value_and_gradient(reweighted, actor(), get_policy_loss_fn("vanilla"))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(("probability", "key"), [("current", "log_prob"), ("old", "old_log_prob")])
def test_the_weight_is_of_the_chosen_policys_probability(probability: str, key: str) -> None:
    tensors = batch()
    _, weighted = value_and_gradient(tensors, actor(TRGRPOLossConfig(probability=probability)))
    _, plain = value_and_gradient(tensors, actor(), get_policy_loss_fn("vanilla"))
    torch.testing.assert_close(weighted, TokenWeight()(tensors[key].detach().exp()) * plain)


def test_a_normalised_gradient_is_the_gradient_over_the_mean_weight() -> None:
    tensors = batch()
    plain = TRGRPOLossConfig(probability="old")
    normalised = TRGRPOLossConfig(probability="old", normalize=True)
    normalised.batch_mean = 1.25
    value, gradient = value_and_gradient(tensors, actor(plain))
    scaled, scaled_gradient = value_and_gradient(tensors, actor(normalised))
    torch.testing.assert_close(scaled, value / 1.25)
    torch.testing.assert_close(scaled_gradient, gradient / 1.25)


def test_importance_weights_are_a_factor_of_each_token() -> None:
    tensors = batch()
    factors = torch.rand(tensors["advantages"].shape, dtype=torch.float64)
    _, plain = value_and_gradient(tensors, actor())
    _, corrected = value_and_gradient(tensors, actor(), rollout_is_weights=factors)
    torch.testing.assert_close(corrected, factors * plain)
