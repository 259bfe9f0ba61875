"""An actor config and batches for the tests of the policy loss."""

from typing import Any

import torch
from torch import Tensor
from verl.workers.config import FSDPActorConfig

from tr_grpo.recipe.policy_loss import MeasuredLossConfig, TRGRPOLossConfig, tr_grpo_loss

LOW, HIGH, DUAL = 0.2, 0.28, 3.0
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
"""Every ``loss_agg_mode`` of verl 0.9.1."""


def actor(
    policy_loss: MeasuredLossConfig | None = None,
    *,
    tokens: float | None = None,
    rows: int | None = None,
    ranks: int = 1,
    scale: int | None = None,
    low: float = LOW,
    high: float = HIGH,
    dual: float = DUAL,
) -> FSDPActorConfig:
    """verl's actor config; with ``tokens`` and ``rows`` as verl sets them for the whole mini-batch on all ranks."""
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=4,
        ppo_mini_batch_size=4,
        ppo_micro_batch_size_per_gpu=4,
        clip_ratio_low=low,
        clip_ratio_high=high,
        clip_ratio_c=dual,
        policy_loss=policy_loss or TRGRPOLossConfig(),
    )
    if tokens is not None:
        config.global_batch_info.update(
            dp_size=ranks, batch_num_tokens=tokens, global_batch_size=rows, loss_scale_factor=scale
        )
    return config


def batch(rows: int = 6, length: int = 9, dtype: torch.dtype = torch.float64, seed: int = 3) -> dict[str, Tensor]:
    """Ratios on both sides of both clips, advantages of both signs, a fifth of the tokens masked."""
    generator = torch.Generator().manual_seed(seed)
    old = torch.rand(rows, length, generator=generator, dtype=dtype).clamp(min=1e-4).log()
    log_prob = (old + 0.4 * torch.randn(rows, length, generator=generator, dtype=dtype)).clamp(max=0.0)
    return {
        "old_log_prob": old,
        "log_prob": log_prob.requires_grad_(),
        "advantages": torch.randn(rows, 1, generator=generator, dtype=dtype).expand(rows, length).clone(),
        "response_mask": torch.rand(rows, length, generator=generator) < 0.8,
    }


def value_and_gradient(
    tensors: dict[str, Tensor], config: FSDPActorConfig, loss: Any = tr_grpo_loss, **rest: Any
) -> tuple[Tensor, Tensor]:
    """The loss and dL/dlog pi, both detached, on a fresh leaf."""
    leaf = tensors["log_prob"].detach().clone().requires_grad_()
    value, _ = loss(**tensors | {"log_prob": leaf}, config=config, **rest)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient
