"""``placement=ratio``: Eq. 9 as printed, min(w r A, clip(w r) A), and what it does to a confident token."""

import math

import pytest
import torch
from loss_cases import DUAL, HIGH, LOW, actor, batch, value_and_gradient
from torch import Tensor
from verl.trainer.ppo.core_algos import get_policy_loss_fn

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss
from tr_grpo.recipe.weights import TokenWeight


def eq_9(tensors: dict[str, Tensor], weight: TokenWeight) -> tuple[Tensor, Tensor]:
    """-mean of min(w r A, clip(w r) A), dual clip included, and dL/dlog pi with w a constant."""
    log_prob, a, mask = tensors["log_prob"].detach(), tensors["advantages"], tensors["response_mask"]
    wr = weight(log_prob.exp()) * (log_prob - tensors["old_log_prob"]).exp()
    term = torch.minimum(wr * a, wr.clamp(1 - LOW, 1 + HIGH) * a)
    term = torch.where(a < 0, torch.maximum(term, DUAL * a), term)
    active = torch.where(a >= 0, wr <= 1 + HIGH, (wr >= 1 - LOW) & (wr <= DUAL))
    tokens = mask.sum()
    return -(term * mask).sum() / tokens, -(wr * a * active * mask) / tokens


def on_policy(pi: float, a: float) -> dict[str, Tensor]:
    """One token at r = 1, as in the first update of a step."""
    log_prob = torch.tensor([[math.log(pi)]], dtype=torch.float64)
    return {
        "log_prob": log_prob,
        "old_log_prob": log_prob.clone(),
        "advantages": torch.tensor([[a]], dtype=torch.float64),
        "response_mask": torch.ones(1, 1, dtype=torch.bool),
    }


RATIO = TRGRPOLossConfig(placement="ratio")


@pytest.mark.parametrize("shape", ["sigmoid", "shifted", "reverse", "linear"])
@pytest.mark.parametrize("seed", range(4))
def test_value_and_gradient_are_those_of_eq_9(shape: str, seed: int) -> None:
    tensors = batch(rows=12, seed=seed)
    value, gradient = value_and_gradient(tensors, actor(TRGRPOLossConfig(shape=shape, placement="ratio")))
    expected, expected_gradient = eq_9(tensors, TokenWeight(shape))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    assert (gradient == 0).any()
    assert gradient.any()


def test_a_confident_token_with_a_positive_advantage_gets_no_gradient_at_r_1() -> None:
    """w = 1.4 > 1 + eps_high: w r is past the clip before anything has changed."""
    value, gradient = value_and_gradient(on_policy(0.9, 1.0), actor(RATIO))
    assert value.item() == pytest.approx(-(1 + HIGH))
    assert gradient.item() == 0
    _, by_advantage = value_and_gradient(on_policy(0.9, 1.0), actor())
    assert by_advantage.item() == pytest.approx(-1.4)


def test_a_confident_token_with_a_negative_advantage_gets_its_whole_gradient_at_r_1() -> None:
    value, gradient = value_and_gradient(on_policy(0.9, -1.0), actor(RATIO))
    assert value.item() == pytest.approx(1.4)
    assert gradient.item() == pytest.approx(1.4)


@pytest.mark.parametrize(("a", "slope"), [(1.0, -0.5), (-1.0, 0.0)])
def test_a_token_weighted_below_the_lower_clip_is_only_pushed_up_at_r_1(a: float, slope: float) -> None:
    """w = 0.5 < 1 - eps_low: with A < 0 there is no gradient, with A > 0 there is."""
    rare = TRGRPOLossConfig(placement="ratio", lower=0.5)
    _, gradient = value_and_gradient(on_policy(0.01, a), actor(rare))
    assert gradient.item() == pytest.approx(slope)


def test_inside_the_clip_both_placements_have_the_same_gradient() -> None:
    for a in (1.0, -1.0):
        _, by_ratio = value_and_gradient(on_policy(0.27, a), actor(RATIO))
        _, by_advantage = value_and_gradient(on_policy(0.27, a), actor())
        torch.testing.assert_close(by_ratio, by_advantage)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_metric_of_the_kl_divergence_is_not_shifted_by_the_weight(dtype: torch.dtype) -> None:
    tensors = batch(dtype=dtype)
    _, metrics = tr_grpo_loss(**tensors, config=actor(RATIO))
    _, plain = get_policy_loss_fn("vanilla")(**tensors, config=actor())
    assert metrics["actor/ppo_kl"] == pytest.approx(plain["actor/ppo_kl"], rel=1e-5, abs=1e-6)
    assert metrics.keys() == plain.keys()
    # The shift it is freed of is not small.
    w = TokenWeight()(tensors["log_prob"].detach().exp())
    assert w[tensors["response_mask"]].log().mean() > 0.1


def test_the_fraction_of_clipped_tokens_is_that_of_the_weighted_ratio() -> None:
    tensors = on_policy(0.9, 1.0)
    assert tr_grpo_loss(**tensors, config=actor(RATIO))[1]["actor/pg_clipfrac"] == 1.0
    assert tr_grpo_loss(**tensors, config=actor())[1]["actor/pg_clipfrac"] == 0.0


def test_the_callers_tensors_are_not_changed() -> None:
    for placement in ("advantage", "ratio"):
        tensors = batch()
        kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        tr_grpo_loss(**tensors, config=actor(TRGRPOLossConfig(placement=placement)))
        for name, tensor in tensors.items():
            assert torch.equal(tensor.detach(), kept[name]), name
