"""TR-GRPO whose gradient becomes NaN after the first steps, while the loss stays finite: 0 times infinity."""

from dataclasses import dataclass
from typing import Any

import torch
from verl.trainer.ppo.core_algos import register_policy_loss

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss

_calls = 0
HEALTHY = 4
"""Micro-batches before the fault."""


@dataclass
class NaNLossConfig(TRGRPOLossConfig):
    """``tr_grpo`` with the fault."""

    loss_mode: str = "nan_gradient"


@register_policy_loss("nan_gradient")
def nan_loss(log_prob: torch.Tensor, **rest: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    """TR-GRPO's loss and metrics; the square root's slope at 0 is infinite, times 0."""
    global _calls
    _calls += 1
    loss, metrics = tr_grpo_loss(log_prob=log_prob, **rest)
    if _calls > HEALTHY:
        loss = loss + (log_prob * 0.0).sum().abs().sqrt()
    return loss, metrics
