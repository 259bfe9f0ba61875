"""The policy loss ``tr_grpo``: weigh the advantages, then hand over to a loss that verl has registered.

Because w > 0 carries no gradient, w * min(r A, clip(r) A) = min(r (w A), clip(r) (w A)): weighting the
objective *is* weighting the advantage. So nothing of verl's loss is copied, and dual clip, importance
weights, every ``loss_agg_mode`` and every micro-batch split stay verl's own. Eq. 9 as printed, which weighs the
ratio instead, is the same delegation with log(w) taken off the old log-probability: r becomes w r.

verl instantiates the configs below from their ``_target_`` in the driver and in every actor worker, which
imports this module there: that registers the loss, and the engine that measures each update once verl's FSDP
engine is loaded. The knobs are checked before Ray starts.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import wrapt
from torch import Tensor
from verl.trainer.ppo.core_algos import get_policy_loss_fn, register_policy_loss
from verl.utils.torch_functional import masked_mean
from verl.workers.config import ActorConfig, PolicyLossConfig

from tr_grpo.recipe.composition import require
from tr_grpo.recipe.weights import TokenWeight

LOSS_NAME = "tr_grpo"
PROBABILITIES = ("current", "old")
PLACEMENTS = ("advantage", "ratio")


def _choose(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key}={value!r} is not known; choose one of: {', '.join(known)}")


@dataclass
class MeasuredLossConfig(PolicyLossConfig):
    """``actor_rollout_ref.actor.policy_loss`` of every ``algo``: verl's own, plus what the engine does around it.

    Attributes:
        loss_mode: the registered loss, as in verl.
        diagnostics: measure which tokens drive each update (``recipe/token_ledger.py``).
        sharpness_every: probe the loss's sharpness at each so many updates; 0 never (``recipe/sharpness.py``).
        sharpness_rho: length of the probe's step along the gradient, in the parameters' own units (SAM's rho).
        hessian_iterations: power iterations for the largest eigenvalue of the Hessian at each probe; each costs
            two forward and backward passes over the mini-batch; 0 leaves it out.
        lopti_threshold: with a value in (0, 1), each mini-batch makes two updates: first the tokens with
            pi_old at most this, then the others (Lopti, arXiv 2505.12929); 0 is off.
        record_samples: responses an update whose tokens are written down one by one (``recipe/token_record.py``).
        record_every: steps from one that is recorded to the next.
        record_folder: where they are written; empty writes nothing.
        batch_mean: mean weight of the mini-batch under way; set by the engine, not by users.
        engine_attached: whether the engine runs this loss; set by the engine, not by users.

    Raises:
        ValueError: a value out of its range.
    """

    _mutable_fields: ClassVar[set[str]] = {"batch_mean", "engine_attached"}

    diagnostics: bool = True
    sharpness_every: int = 0
    sharpness_rho: float = 0.05
    hessian_iterations: int = 0
    lopti_threshold: float = 0.0
    record_samples: int = 4
    record_every: int = 1
    record_folder: str = ""
    batch_mean: float | None = field(default=None, init=False)
    engine_attached: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        for key in ("sharpness_every", "hessian_iterations", "record_samples"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key}={getattr(self, key)} must be 0 (off) or more")
        if self.record_every < 1:
            raise ValueError(f"record_every={self.record_every} must be 1 or more; record_samples=0 records nothing")
        if not self.sharpness_rho > 0:
            raise ValueError(f"sharpness_rho={self.sharpness_rho} must be positive")
        if self.hessian_iterations and not self.sharpness_every:
            raise ValueError("hessian_iterations has no effect with sharpness_every=0: set how often to probe")
        if not 0 <= self.lopti_threshold < 1:
            raise ValueError(f"lopti_threshold={self.lopti_threshold} must be 0 (off) or a probability below 1")

    @property
    def needs_engine(self) -> str | None:
        """The first knob that only the engine can carry out, or None."""
        return "lopti_threshold" if self.lopti_threshold else None


@dataclass
class TRGRPOLossConfig(MeasuredLossConfig):
    """The same for ``algo=tr_grpo`` and its relatives: the weight and where it enters.

    Attributes:
        loss_mode: the registered loss; ``tr_grpo``.
        base_loss: the loss of verl that receives the weighted advantages; ``recipe/composition.py`` has the table.
        shape, alpha, tau, mu, lower, upper, a: see :class:`~tr_grpo.recipe.weights.TokenWeight`.
        probability: whose pi the weight is of: ``current`` (the policy being updated) or ``old`` (before the
            step's first update). They are the same in the first update of a step.
        placement: ``advantage`` (w A, the default) or ``ratio`` (w r, Eq. 9 as printed; see docs/method.md for
            why a confident token with A > 0 then gets no gradient).
        normalize: divide the weights by their mean over the mini-batch's tokens, on all ranks, so that a
            comparison with GRPO is not one of learning rates. Needs ``probability=old``: the mean over the whole
            mini-batch has to be known before its first micro-batch.
        weighted_kl: weigh the KL penalty as published, w rho - log(w rho) - 1 with rho = pi_ref / pi. Its least
            value is at pi = w pi_ref, not at pi_ref. Needs ``use_kl_loss`` with ``low_var_kl``.

    Raises:
        ValueError: values that the weight refuses, or two keys that do not go together (both are named).
    """

    loss_mode: str = LOSS_NAME
    base_loss: str = "vanilla"
    shape: str = TokenWeight.shape
    alpha: float = TokenWeight.alpha
    tau: float = TokenWeight.tau
    mu: float = TokenWeight.mu
    lower: float = TokenWeight.lower
    upper: float = TokenWeight.upper
    a: float = TokenWeight.a
    probability: str = "current"
    placement: str = "advantage"
    normalize: bool = False
    weighted_kl: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _choose("probability", self.probability, PROBABILITIES)
        _choose("placement", self.placement, PLACEMENTS)
        require(self.base_loss, self.placement)
        self.weight()
        if self.normalize and self.probability != "old":
            raise ValueError(
                "normalize=true and probability=current do not go together: the mean over the mini-batch must be "
                "known before its first micro-batch; set probability=old"
            )
        if self.normalize and self.placement == "ratio":
            raise ValueError(
                "normalize=true and placement=ratio do not go together: a factor on the ratio moves the clip, "
                "not the step; use placement=advantage"
            )

    def weight(self) -> TokenWeight:
        """The validated weight."""
        return TokenWeight(self.shape, self.alpha, self.tau, self.mu, self.lower, self.upper, self.a)

    @property
    def needs_engine(self) -> str | None:
        for knob in ("normalize", "weighted_kl"):
            if getattr(self, knob):
                return knob
        return super().needs_engine


def token_weights(knobs: TRGRPOLossConfig, log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """w of each token as the loss uses it, without gradient.

    Args:
        knobs: the weight, whose probability it is of, and the mini-batch's mean where it is normalised.
        log_prob: log-probabilities of the current policy, any shape.
        old_log_prob: log-probabilities before the step's first update, same shape.

    Returns:
        Positive weights, same shape, in float32 or the inputs' wider type.
    """
    chosen = (log_prob if knobs.probability == "current" else old_log_prob).detach()
    w = knobs.weight()(chosen.to(torch.promote_types(chosen.dtype, torch.float32)).exp())
    return w if knobs.batch_mean is None else w.div_(knobs.batch_mean)


class NonFiniteLogProbError(FloatingPointError):
    """A counted log-probability is NaN or infinite.

    Attributes:
        row: the response's row in the micro-batch.
        token: the token's place in the response.
    """

    def __init__(self, log_prob: Tensor, bad: Tensor) -> None:
        self.row, self.token = bad[0].tolist()
        super().__init__(
            f"the log-probability of token {self.token} of response {self.row} of the micro-batch is "
            f"{log_prob[self.row, self.token].item()} ({len(bad)} such tokens in all): the policy's logits are not "
            "finite"
        )


def require_finite(loss: Tensor, log_prob: Tensor, response_mask: Tensor) -> None:
    """Stop where a NaN enters, instead of at the gradient norm of all ranks.

    Args:
        loss: the scalar loss of a micro-batch; a NaN in any counted log-probability makes it NaN.
        log_prob: log-probabilities of the current policy, (batch, response_length).
        response_mask: true where the token counts, same shape.

    Raises:
        NonFiniteLogProbError: names the first response and token at fault.
        FloatingPointError: the loss is not finite for another reason.
    """
    if torch.isfinite(loss):
        return
    bad = (~torch.isfinite(log_prob) & response_mask.bool()).nonzero()
    if len(bad):
        raise NonFiniteLogProbError(log_prob, bad)
    raise FloatingPointError(
        f"the policy loss is {loss.item()} although every counted log-probability is finite: look at the "
        "advantages, the importance weights, masked tokens and an empty batch"
    )


@register_policy_loss(LOSS_NAME)
def tr_grpo_loss(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: ActorConfig | None = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """TR-GRPO's policy loss, with verl's signature (verl calls it by keyword).

    Args:
        old_log_prob: log-probabilities of the sampling policy, (batch, response_length).
        log_prob: log-probabilities of the current policy, same shape; the only input with a gradient.
        advantages: group-relative advantages, same shape.
        response_mask: true where the token was generated by the policy, same shape.
        loss_agg_mode: verl's aggregation over tokens and sequences.
        config: verl's actor config; its ``policy_loss`` is a :class:`TRGRPOLossConfig`.
        rollout_is_weights: verl's importance weights for rollout correction, or None.

    Returns:
        The scalar loss and the metrics of the base loss; what the weight does is measured by the engine.

    Raises:
        ValueError: no config, or a knob that only the engine can carry out while another engine runs.
        FloatingPointError: a log-probability that is not finite.

    Source: arXiv 2511.00066, Eq. 9 read at the advantage (docs/method.md).
    """
    if config is None:
        raise ValueError("tr_grpo needs verl's actor config: call it through verl, or pass config=")
    knobs: TRGRPOLossConfig = config.policy_loss
    if knobs.needs_engine and not knobs.engine_attached and knobs.batch_mean is None:
        raise ValueError(
            f"{knobs.needs_engine} needs the project's engine: strategy=fsdp or fsdp2, and VERL_ENGINE_VENDOR=tr_grpo "
            "in every worker's environment, as recipe/config/train.yaml sets it"
        )
    w = token_weights(knobs, log_prob, old_log_prob)
    metrics_shift: dict[str, float] = {}
    if knobs.placement == "ratio":
        log_w = w.log()
        old_log_prob = old_log_prob - log_w
        # verl's ppo_kl is the mean of old - current: give it back what was taken off.
        metrics_shift["actor/ppo_kl"] = masked_mean(log_w, response_mask).item()
    else:
        advantages = w.mul_(advantages) if w.dtype == advantages.dtype else w * advantages
    loss, metrics = get_policy_loss_fn(knobs.base_loss)(
        old_log_prob=old_log_prob,
        log_prob=log_prob,
        advantages=advantages,
        response_mask=response_mask,
        loss_agg_mode=loss_agg_mode,
        config=config,
        rollout_is_weights=rollout_is_weights,
    )
    require_finite(loss, log_prob, response_mask)
    return loss, metrics | {key: metrics[key] + value for key, value in metrics_shift.items()}


# At the end: where verl's engine is loaded already, this runs at once and the engine imports this module.
@wrapt.when_imported("verl.workers.engine.fsdp.transformer_impl")
def _register_engine(module: object) -> None:
    """Importing verl's engine takes a second and warns of what is not installed; the driver needs neither."""
    import tr_grpo.recipe.engine  # noqa: F401
