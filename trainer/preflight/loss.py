"""TR41x: the policy loss is known to verl, takes its knobs, and is finite with a gradient on one batch."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error


def check(config: DictConfig) -> Iterator[Finding]:
    """Instantiate the actor's config as verl does, then compute the loss once."""
    from hydra.errors import InstantiationException
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
    from verl.utils.config import omega_conf_to_dataclass

    try:
        actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    except (InstantiationException, AssertionError, TypeError, ValueError) as problem:
        cause = problem.__cause__ or problem
        yield error("TR411", " ".join(str(cause).split()), "correct the values under actor_rollout_ref.actor")
        return
    mode = actor.policy_loss.get("loss_mode", "vanilla")
    if mode not in POLICY_LOSS_REGISTRY:
        yield error(
            "TR412", f"policy_loss.loss_mode={mode} is not registered with verl",
            f"choose one of {', '.join(sorted(POLICY_LOSS_REGISTRY))}",
        )  # fmt: skip
        return
    yield from _one_batch(POLICY_LOSS_REGISTRY[mode], actor, config.actor_rollout_ref.rollout.n)


def _one_batch(loss_fn: Callable[..., Any], actor: Any, group: int) -> Iterator[Finding]:
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(group, 16, generator=generator)
    log_prob = (old + 0.01 * torch.randn(group, 16, generator=generator)).clamp(max=0).requires_grad_()
    advantages = torch.randn(group, 1, generator=generator).expand(group, 16)
    mask = torch.ones(group, 16, dtype=torch.bool)
    actor.global_batch_info.update(
        dp_size=1, batch_num_tokens=mask.sum().item(), global_batch_size=group, loss_scale_factor=None
    )
    value, _ = loss_fn(
        old_log_prob=old,
        log_prob=log_prob,
        advantages=advantages,
        response_mask=mask,
        loss_agg_mode=actor.loss_agg_mode,
        config=actor,
        rollout_is_weights=None,
    )
    value.backward()
    gradient = log_prob.grad
    if not torch.isfinite(value) or gradient is None or not gradient.isfinite().all() or not gradient.any():
        yield error(
            "TR413", f"the policy loss on a test batch is {value.item():g} without a usable gradient",
            "check the clip and weight values under actor_rollout_ref.actor",
        )  # fmt: skip
