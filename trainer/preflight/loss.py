"""TR41x, TR42x: the policy loss is known to verl, takes its knobs, means what it seems to, and has a gradient."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.finding import Finding, error, warning

if TYPE_CHECKING:  # verl reads the environment when it is imported, and the composed config sets it
    from verl.workers.config import ActorConfig

    from tr_grpo.recipe.weights import TokenWeight

# recipe/engine.py's VENDOR, not imported: with it come verl's engines, seconds and warnings.
VENDOR = "tr_grpo"
VENDOR_KEY = "ray_kwargs.ray_init.runtime_env.env_vars.VERL_ENGINE_VENDOR"
ENGINE_STRATEGIES = ("fsdp", "fsdp2")
WEIGHTED_KL_TYPES = ("low_var_kl", "k3")
FLOAT32 = ("fp32", "float32")


def check(config: DictConfig) -> Iterator[Finding]:
    """Instantiate the actor's config as verl does, look at it, then compute the loss once."""
    from hydra.errors import InstantiationException
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
    from verl.utils.config import omega_conf_to_dataclass

    from tr_grpo.recipe.policy_loss import MeasuredLossConfig, TRGRPOLossConfig

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
    if isinstance(actor.policy_loss, MeasuredLossConfig):
        yield from _engine(config, actor)
        # As the engine sets it; the batch below needs nothing else of it.
        actor.policy_loss.engine_attached = True
    if isinstance(actor.policy_loss, TRGRPOLossConfig):
        yield from _composition(config, actor)
        yield from _weighted_kl(actor)
        yield from _ratio(actor)
    yield from _one_batch(POLICY_LOSS_REGISTRY[mode], actor, config.actor_rollout_ref.rollout.n)


def _engine(config: DictConfig, actor: "ActorConfig") -> Iterator[Finding]:
    """Knobs that a policy loss cannot carry out alone, and the engine that does."""
    knobs = actor.policy_loss
    vendor = OmegaConf.select(config, VENDOR_KEY)
    knob = knobs.needs_engine or ("sharpness_every" if knobs.sharpness_every else None)
    if vendor != VENDOR or actor.strategy not in ENGINE_STRATEGIES:
        where = f"VERL_ENGINE_VENDOR={vendor} and actor.strategy={actor.strategy}"
        fix = f"set {VENDOR_KEY}={VENDOR} and actor_rollout_ref.actor.strategy=fsdp2"
        if knob:
            yield error("TR417", f"policy_loss.{knob} needs the engine {VENDOR} on FSDP, but {where}", fix)
        elif knobs.diagnostics:
            yield warning(
                "TR422", f"policy_loss.diagnostics=true measures nothing: it needs the engine {VENDOR}, but {where}",
                f"{fix}, or actor_rollout_ref.actor.policy_loss.diagnostics=false",
            )  # fmt: skip
    elif knobs.sharpness_every and actor.strategy != "fsdp2":
        yield error(
            "TR418", f"policy_loss.sharpness_every={knobs.sharpness_every} and actor.strategy={actor.strategy}: the "
            "probe moves the weights' shards, which FSDP1 does not show",
            "set actor_rollout_ref.actor.strategy=fsdp2, or sharpness_every=0",
        )  # fmt: skip
    if knobs.hessian_iterations and (precision := _forward_precision(actor)) not in FLOAT32:
        yield error(
            "TR423", f"policy_loss.hessian_iterations={knobs.hessian_iterations} takes differences of gradients, which "
            f"the rounding of fsdp_config.mixed_precision.param_dtype={precision} drowns",
            "set actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32, or hessian_iterations=0",
        )  # fmt: skip


def _forward_precision(actor: "ActorConfig") -> str:
    """verl's default is bf16."""
    return str((actor.fsdp_config.mixed_precision or {}).get("param_dtype", "bf16"))


def _composition(config: DictConfig, actor: "ActorConfig") -> Iterator[Finding]:
    """What the weight means on this base loss, and who else lays hands on it."""
    from tr_grpo.recipe.composition import LOSSES, Verdict

    base = actor.policy_loss.base_loss
    row = LOSSES[base]
    if row.verdict is Verdict.DIFFERS:
        yield warning(
            "TR414", f"base_loss={base} with a weight {row.verdict}: {row.why}",
            "nothing, if that is what you want to study; base_loss=vanilla is the paper's",
        )  # fmt: skip
    bypass = bool(OmegaConf.select(config, "algorithm.rollout_correction.bypass_mode"))
    if bypass and not config.trainer.use_v1:
        yield error(
            "TR419", "trainer.use_v1=false and algorithm.rollout_correction.bypass_mode=true: verl's V0 trainer writes "
            f"loss_mode=bypass_mode over {actor.policy_loss.loss_mode}, in a config that its workers no longer read",
            "set trainer.use_v1=true, which keeps the loss, or bypass_mode=false",
        )  # fmt: skip
    if base == "bypass_mode" and not bypass:
        yield error(
            "TR421", "base_loss=bypass_mode takes old_log_probs for vLLM's, but "
            "algorithm.rollout_correction.bypass_mode=false",
            "set algorithm.rollout_correction.bypass_mode=true, or base_loss=vanilla",
        )  # fmt: skip


def _weighted_kl(actor: "ActorConfig") -> Iterator[Finding]:
    if not actor.policy_loss.weighted_kl:
        return
    if not actor.use_kl_loss:
        yield error(
            "TR416", "policy_loss.weighted_kl=true and actor.use_kl_loss=false: there is no KL penalty to weigh",
            "set actor_rollout_ref.actor.use_kl_loss=true, or weighted_kl=false",
        )  # fmt: skip
    elif actor.kl_loss_type not in WEIGHTED_KL_TYPES:
        yield error(
            "TR416", f"policy_loss.weighted_kl=true and actor.kl_loss_type={actor.kl_loss_type}: the published form is "
            "that of low_var_kl",
            "set actor_rollout_ref.actor.kl_loss_type=low_var_kl, or weighted_kl=false",
        )  # fmt: skip
    else:
        yield warning(
            "TR415", "policy_loss.weighted_kl=true: the penalty is least at pi = w * pi_ref, not at pi_ref, and not 0 "
            "where the two policies are equal",
            "set weighted_kl=false for a KL penalty; true is what the paper prints",
        )  # fmt: skip


def _ratio(actor: "ActorConfig") -> Iterator[Finding]:
    """Eq. 9 clips w r, so a weight beyond the clip takes the gradient away even at r = 1."""
    if actor.policy_loss.placement != "ratio":
        return
    weight = actor.policy_loss.weight()
    for sign, bound, clipped in (
        ("> 0", f"1 + clip_ratio_high={actor.clip_ratio_high}", lambda w: w > 1 + actor.clip_ratio_high),
        ("< 0", f"1 - clip_ratio_low={actor.clip_ratio_low}", lambda w: w < 1 - actor.clip_ratio_low),
    ):
        where = probabilities_where(weight, clipped)
        if where:
            yield warning(
                "TR420", f"placement=ratio: tokens with A {sign} and {where} have w beyond {bound}, so they are "
                "clipped and get no gradient from the first update on",
                "use placement=advantage, or bring lower and upper within the clip",
            )  # fmt: skip


def probabilities_where(weight: "TokenWeight", condition: Callable[[float], bool]) -> str | None:
    """The probabilities whose weight meets a condition, which a monotone weight does from one point on, or up to it.

    Args:
        weight: monotone in the probability, as every shape is.
        condition: of a weight; true on one side of some bound.

    Returns:
        E.g. ``pi > 0.304`` or ``pi < 0.21``, ``any pi``, or None where no probability qualifies.
    """
    at_zero, at_one = condition(weight.at(0.0)), condition(weight.at(1.0))
    if at_zero == at_one:
        return "any pi" if at_zero else None
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if condition(weight.at(middle)) == at_zero else (low, middle)
    return f"pi {'<' if at_zero else '>'} {low:.3g}"


def _one_batch(loss_fn: Callable[..., Any], actor: "ActorConfig", group: int) -> Iterator[Finding]:
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(group, 16, generator=generator)
    log_prob = (old + 0.01 * torch.randn(group, 16, generator=generator)).clamp(max=0).requires_grad_()
    advantages = torch.randn(group, 1, generator=generator).expand(group, 16)
    mask = torch.ones(group, 16, dtype=torch.bool)
    actor.global_batch_info.update(
        dp_size=1,
        batch_num_tokens=mask.sum().item(),
        global_batch_size=group,
        loss_scale_factor=actor.loss_scale_factor,
    )
    try:
        value, _ = loss_fn(
            old_log_prob=old,
            log_prob=log_prob,
            advantages=advantages,
            response_mask=mask,
            loss_agg_mode=actor.loss_agg_mode,
            config=actor,
            rollout_is_weights=None,
        )
    except (AssertionError, ValueError, FloatingPointError) as problem:
        yield error(
            "TR413", f"the policy loss refuses a test batch: {' '.join(str(problem).split())}",
            "correct the values under actor_rollout_ref.actor",
        )  # fmt: skip
        return
    value.backward()
    gradient = log_prob.grad
    if not torch.isfinite(value) or gradient is None or not gradient.isfinite().all() or not gradient.any():
        yield error(
            "TR413", f"the policy loss on a test batch is {value.item():g} without a usable gradient",
            "check the clip and weight values under actor_rollout_ref.actor",
        )  # fmt: skip
