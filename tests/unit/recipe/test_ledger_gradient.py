"""The ledger on the gradient that autograd finds through the real loss.

For verl's vanilla loss a token's mass is |w A r active| (1 - pi) over the number of tokens.
"""

import pytest
import torch
from loss_cases import DUAL, HIGH, LOW, actor, batch
from torch import Tensor
from verl.trainer.ppo.core_algos import get_policy_loss_fn

from tr_grpo.recipe.engine import weight_range
from tr_grpo.recipe.policy_loss import MeasuredLossConfig, TRGRPOLossConfig, token_weights, tr_grpo_loss
from tr_grpo.recipe.token_ledger import TokenLedger, WeightRange, describe
from tr_grpo.recipe.weights import TokenWeight


def active(tensors: dict[str, Tensor], r: Tensor) -> Tensor:
    """The tokens that no clip holds."""
    return torch.where(tensors["advantages"] >= 0, r <= 1 + HIGH, (r >= 1 - LOW) & (r <= DUAL))


def recorded(tensors: dict[str, Tensor], knobs: TRGRPOLossConfig) -> dict[str, float]:
    """As the engine does it: a hook on the log-probabilities."""
    ledger = TokenLedger(WeightRange(1.0, 1.4, 1.0, 1.4))
    log_prob = tensors["log_prob"].detach().clone().requires_grad_()
    w = token_weights(knobs, log_prob, tensors["old_log_prob"])
    log_prob.register_hook(
        lambda gradient: ledger.add(
            log_prob.detach().exp(), w, tensors["advantages"], tensors["response_mask"], gradient
        )
    )
    loss, _ = tr_grpo_loss(**tensors | {"log_prob": log_prob}, config=actor(knobs))
    loss.backward()
    return describe(ledger.totals().tolist())


@pytest.mark.parametrize("placement", ["advantage", "ratio"])
def test_the_mass_is_that_by_hand_and_clipped_tokens_have_none(placement: str) -> None:
    tensors = batch(rows=20, length=30)
    log_prob, a, mask = tensors["log_prob"].detach(), tensors["advantages"], tensors["response_mask"]
    r = (log_prob - tensors["old_log_prob"]).exp()
    pi, w = log_prob.exp(), TokenWeight()(log_prob.exp())
    moves = active(tensors, w * r if placement == "ratio" else r) & mask
    mass = (w * a * r).abs() * moves * (1 - pi) / mask.sum()
    found = recorded(tensors, TRGRPOLossConfig(placement=placement))
    quartiles = {"0_25": (0, 0.25), "25_50": (0.25, 0.5), "50_75": (0.5, 0.75), "75_100": (0.75, 2)}
    for name, (low, high) in quartiles.items():
        inside = (pi >= low) & (pi < high)
        assert found[f"actor/tr/mass_p_{name}"] == pytest.approx((mass[inside].sum() / mass.sum()).item(), rel=1e-5)
        before = (mass / w)[inside].sum() / (mass / w).sum()
        assert found[f"actor/tr/mass_before_p_{name}"] == pytest.approx(before.item(), rel=1e-5)
    assert found["actor/tr/effective_tokens"] == pytest.approx((mass.sum() ** 2 / (mass**2).sum()).item(), rel=1e-5)
    held = ~moves & mask & (pi < 1)
    assert found["actor/tr/share_without_gradient"] == pytest.approx((held.sum() / mask.sum()).item())
    assert 0.05 < found["actor/tr/share_without_gradient"] < 0.9


def test_before_weighting_is_what_grpo_would_have_had() -> None:
    """With the weight at the advantage the mass before it is, share by share, that of verl's vanilla loss."""
    tensors = batch(rows=20, length=30)
    ours = recorded(tensors, TRGRPOLossConfig())
    leaf = tensors["log_prob"].detach().clone().requires_grad_()
    loss, _ = get_policy_loss_fn("vanilla")(**tensors | {"log_prob": leaf}, config=actor())
    (gradient,) = torch.autograd.grad(loss, leaf)
    ledger = TokenLedger(WeightRange())
    ledger.add(leaf.detach().exp(), None, tensors["advantages"], tensors["response_mask"], gradient)
    plain = describe(ledger.totals().tolist())
    for key in ours:
        if "mass_before" in key:
            assert ours[key] == pytest.approx(plain[key.replace("mass_before", "mass")], rel=1e-5)
    assert ours["actor/tr/effective_tokens_before"] == pytest.approx(plain["actor/tr/effective_tokens"], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_normalised_weight_is_still_told_to_be_at_its_clips(dtype: torch.dtype) -> None:
    """w / mean in float32 and clip / mean in float64 differ in the last bit; the shares must not."""
    log_prob = torch.tensor([[0.01, 0.3, 0.9, 0.95]], dtype=dtype).log()
    ones = torch.ones(1, 4)
    for step in range(200):
        mean = 0.7 + 0.0037 * step
        knobs = TRGRPOLossConfig(probability="old", normalize=True, lower=0.3)
        knobs.batch_mean = mean
        ledger = TokenLedger(WeightRange(0.3 / mean, 1.4 / mean, 0.3 / mean, 1.4 / mean))
        ledger.add(log_prob.exp(), token_weights(knobs, log_prob, log_prob), ones, ones.bool(), ones.clone())
        found = describe(ledger.totals().tolist())
        shares = [found[f"actor/tr/share_{part}"] for part in ("at_lower", "in_ramp", "at_upper")]
        assert shares == [0.25, 0.25, 0.5], mean


@pytest.mark.parametrize("shape", ["linear", "uniform"])
def test_a_weight_without_a_clip_is_judged_by_its_own_ends(shape: str) -> None:
    """``lower`` and ``upper`` do not apply to it: every weight of ``linear`` is below lower = 1."""
    knobs = TRGRPOLossConfig(shape=shape)
    weight = knobs.weight()
    assert weight_range(knobs) == WeightRange(weight.lowest, weight.highest, weight.lowest, weight.highest)


def test_the_range_of_a_clipped_weight_is_its_clips_over_the_mean() -> None:
    knobs = TRGRPOLossConfig(probability="old", normalize=True, alpha=1.2, lower=0.5)
    knobs.batch_mean = 0.5
    weight = knobs.weight()
    assert weight_range(knobs) == WeightRange(1.0, 2.8, 1.0, weight.highest * 2)
    assert weight.highest < 1.2
    assert weight_range(MeasuredLossConfig()) == WeightRange()
