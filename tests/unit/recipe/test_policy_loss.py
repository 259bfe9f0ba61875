"""The loss ``tr_grpo``: value and gradient against the closed form, and bit-equality with verl at w = 1."""

import pytest
import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import FSDPActorConfig

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss
from tr_grpo.recipe.weights import TokenWeight

LOW, HIGH, DUAL = 0.2, 0.28, 3.0


def actor(
    policy_loss: TRGRPOLossConfig | None = None, tokens: int | None = None, rows: int | None = None
) -> FSDPActorConfig:
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=4,
        ppo_mini_batch_size=4,
        ppo_micro_batch_size_per_gpu=4,
        clip_ratio_low=LOW,
        clip_ratio_high=HIGH,
        clip_ratio_c=DUAL,
        policy_loss=policy_loss or TRGRPOLossConfig(),
    )
    if tokens is not None:
        config.global_batch_info.update(
            dp_size=1, batch_num_tokens=tokens, global_batch_size=rows, loss_scale_factor=None
        )
    return config


def batch(rows: int = 6, length: int = 9, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    old = torch.rand(rows, length, generator=generator, dtype=dtype).clamp(min=1e-4).log()
    log_prob = (old + 0.4 * torch.randn(rows, length, generator=generator, dtype=dtype)).clamp(max=0.0)
    return {
        "old_log_prob": old,
        "log_prob": log_prob.requires_grad_(),
        "advantages": torch.randn(rows, 1, generator=generator, dtype=dtype).expand(rows, length).clone(),
        "response_mask": torch.rand(rows, length, generator=generator) < 0.8,
    }


def closed_form(tensors: dict[str, Tensor]) -> Tensor:
    """-mean over tokens of w * min(r A, clip(r) A), with the dual clip for A < 0, written from the formula."""
    r = (tensors["log_prob"] - tensors["old_log_prob"]).exp()
    a, mask = tensors["advantages"], tensors["response_mask"]
    w = TokenWeight()(tensors["log_prob"].detach().exp())
    surrogate = torch.minimum(r * a, r.clamp(1 - LOW, 1 + HIGH) * a)
    surrogate = torch.where(a < 0, torch.maximum(surrogate, DUAL * a), surrogate)
    return -((w * surrogate) * mask).sum() / mask.sum()


def test_value_and_gradient_equal_the_closed_form() -> None:
    tensors = batch()
    expected = closed_form(tensors)
    (expected_gradient,) = torch.autograd.grad(expected, tensors["log_prob"])
    value, _ = tr_grpo_loss(**tensors, config=actor())
    (gradient,) = torch.autograd.grad(value, tensors["log_prob"])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    assert gradient.abs().max() > 0


def test_gradient_of_each_token_is_the_baselines_times_its_weight() -> None:
    tensors = batch()
    weighted, _ = tr_grpo_loss(**tensors, config=actor())
    plain, _ = get_policy_loss_fn("vanilla")(**tensors, config=actor())
    (with_weight,) = torch.autograd.grad(weighted, tensors["log_prob"])
    (without,) = torch.autograd.grad(plain, tensors["log_prob"])
    w = TokenWeight()(tensors["log_prob"].detach().exp())
    torch.testing.assert_close(with_weight, w * without)


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weight_one_equals_verls_loss_bit_for_bit(mode: str, dtype: torch.dtype) -> None:
    tensors = batch(dtype=dtype)
    uniform = actor(TRGRPOLossConfig(shape="uniform"))
    ours, our_metrics = tr_grpo_loss(**tensors, loss_agg_mode=mode, config=uniform)
    verls, verl_metrics = get_policy_loss_fn("vanilla")(**tensors, loss_agg_mode=mode, config=actor())
    (our_gradient,) = torch.autograd.grad(ours, tensors["log_prob"])
    (verl_gradient,) = torch.autograd.grad(verls, tensors["log_prob"])
    assert torch.equal(ours, verls)
    assert torch.equal(our_gradient, verl_gradient)
    assert verl_metrics.items() <= our_metrics.items()


def test_micro_batches_add_up_to_the_whole() -> None:
    tensors = batch(rows=6)
    tokens = int(tensors["response_mask"].sum())
    whole, _ = tr_grpo_loss(**tensors, config=actor(tokens=tokens, rows=6))
    parts = [
        tr_grpo_loss(**{name: tensor[rows] for name, tensor in tensors.items()}, config=actor(tokens=tokens, rows=6))[0]
        for rows in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    torch.testing.assert_close(sum(parts), whole)
    (whole_gradient,) = torch.autograd.grad(whole, tensors["log_prob"])
    (split_gradient,) = torch.autograd.grad(sum(parts), tensors["log_prob"])
    torch.testing.assert_close(split_gradient, whole_gradient)


def test_masked_tokens_have_no_gradient_and_no_influence() -> None:
    tensors = batch()
    value, metrics = tr_grpo_loss(**tensors, config=actor())
    (gradient,) = torch.autograd.grad(value, tensors["log_prob"])
    assert not gradient[~tensors["response_mask"]].any()
    disturbed = tensors | {"log_prob": torch.where(tensors["response_mask"], tensors["log_prob"].detach(), -3.0)}
    value_disturbed, metrics_disturbed = tr_grpo_loss(**disturbed, config=actor())
    assert torch.equal(value.detach(), value_disturbed)
    assert metrics == metrics_disturbed


def test_importance_weights_reach_the_base_loss() -> None:
    tensors = batch()
    plain, _ = tr_grpo_loss(**tensors, config=actor())
    halved, _ = tr_grpo_loss(**tensors, config=actor(), rollout_is_weights=torch.full_like(tensors["advantages"], 0.5))
    torch.testing.assert_close(halved, 0.5 * plain)


def test_verl_instantiates_the_config_from_its_target_and_finds_the_loss() -> None:
    config = omega_conf_to_dataclass({"_target_": "tr_grpo.recipe.policy_loss.TRGRPOLossConfig", "tau": 5.0})
    assert isinstance(config, TRGRPOLossConfig)
    assert config.weight() == TokenWeight(tau=5.0)
    assert get_policy_loss_fn(config.loss_mode) is tr_grpo_loss


def test_an_unknown_base_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"base_loss='vanila'.*vanilla"):
        TRGRPOLossConfig(base_loss="vanila")


def test_it_cannot_weigh_itself() -> None:
    with pytest.raises(ValueError, match="base_loss"):
        TRGRPOLossConfig(base_loss="tr_grpo")
