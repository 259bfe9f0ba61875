"""A policy loss for the tests: on a real worker's tensors, what stands at masked positions must not matter at all."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from verl.trainer.ppo.core_algos import register_policy_loss

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss
from tr_grpo.recipe.token_ledger import TokenLedger, WeightRange

MODES = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
DUMP = "TR_GRPO_TEST_DUMP"
"""A folder for the advantages that the loss was given, one line a response."""


@dataclass
class MaskedLossConfig(TRGRPOLossConfig):
    """``tr_grpo``, checked at each micro-batch."""

    loss_mode: str = "masked"


def outcome(log_prob: torch.Tensor, mode: str, rest: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Value, gradient with respect to ``log_prob``, and metrics."""
    leaf = log_prob.detach().clone().requires_grad_()
    value, metrics = tr_grpo_loss(log_prob=leaf, **(rest | {"loss_agg_mode": mode}))
    return value.detach(), torch.autograd.grad(value, leaf)[0], metrics


def ledger(log_prob: torch.Tensor, gradient: torch.Tensor, rest: dict[str, Any]) -> torch.Tensor:
    """The totals of the diagnostics."""
    book = TokenLedger(WeightRange(1.0, 1.4))
    probability = log_prob.detach().float().exp()
    book.add(probability, 1 + 0.4 * probability, rest["advantages"], rest["response_mask"].bool(), gradient)
    return book.totals()


@register_policy_loss("masked")
def masked_loss(log_prob: torch.Tensor, **rest: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    """TR-GRPO's loss; the metrics are 1 where nothing changed with the environment's tokens and the padding."""
    mask = rest["response_mask"].bool()
    generator = torch.Generator().manual_seed(0)

    def perturbed(values: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, values, values - torch.rand(values.shape, generator=generator) - 0.5)

    other = rest | {name: perturbed(rest[name]) for name in ("old_log_prob", "advantages")}
    equal, outside, largest = True, 0.0, 0.0
    for mode in MODES:
        value, gradient, metrics = outcome(log_prob, mode, rest)
        changed = perturbed(log_prob.detach())
        value2, gradient2, metrics2 = outcome(changed, mode, other)
        equal &= torch.equal(value, value2) and torch.equal(gradient, gradient2) and metrics == metrics2
        equal &= torch.equal(ledger(log_prob, gradient, rest), ledger(changed, gradient2, other))
        outside = max(outside, (gradient * ~mask).abs().max().item())
        largest = max(largest, (gradient * mask).abs().max().item())
    if ray.is_initialized():  # the preflight tries the loss too, in the driver
        dump(rest["advantages"], mask)
    # What an observation is: masked, with tokens of the policy after it.
    inner = (~mask & (mask.flip(-1).cumsum(-1).flip(-1) > 0)).sum(-1)
    value, metrics = tr_grpo_loss(log_prob=log_prob, **rest)
    return value, metrics | {
        "actor/masked/equal": float(equal),
        "actor/masked/gradient_outside_max": outside,
        "actor/masked/gradient_inside_max": largest,
        "actor/masked/inner_max": float(inner.max()),
    }


def dump(advantages: torch.Tensor, mask: torch.Tensor) -> None:
    """Append (advantage, tokens of the policy) of each response, for the test of the groups."""
    rows = [(row[own].tolist(), int(own.sum())) for row, own in zip(advantages, mask, strict=True)]
    with (Path(os.environ[DUMP]) / f"advantages-{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        for values, count in rows:
            assert len(set(values)) <= 1, "GRPO gives all tokens of a response one advantage"
            file.write(json.dumps([values[0] if values else 0.0, count]) + "\n")
