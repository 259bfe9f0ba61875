"""TR4xx: batch arithmetic, clipping, and keys that verl reads and ignores."""

from collections.abc import Iterator

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.ledger import BatchLedger

VERL_CLIP_RATIO = 0.2  # the default of clip_ratio, which nothing reads once low and high are set
LEGACY_REWARD_SECTIONS = ("custom_reward_function", "reward_model", "sandbox_fusion")


def check(config: DictConfig) -> Iterator[Finding]:
    """All checks that need nothing but the config."""
    yield from _legacy_reward_keys(config)
    ledger = BatchLedger.from_config(config)
    unusable = list(_positive(ledger))
    yield from unusable
    if not unusable:
        yield from _clip(config, ledger)
        yield from _sizes(ledger)


def _legacy_reward_keys(config: DictConfig) -> Iterator[Finding]:
    for section in LEGACY_REWARD_SECTIONS:
        for key, value in _leaves(config.get(section), section):
            if value is not None:
                yield error(
                    "TR301", f"{key}={value} is a legacy key: verl 0.9.1 reads it and does nothing",
                    f"set it as reward.{key.removeprefix('reward_model.')}",
                )  # fmt: skip


def _leaves(node: object, prefix: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, DictConfig):
        for name, value in node.items():
            yield from _leaves(value, prefix + "." + str(name))
    else:
        yield prefix, node


def _clip(config: DictConfig, ledger: BatchLedger) -> Iterator[Finding]:
    actor = config.actor_rollout_ref.actor
    changed = actor.clip_ratio != VERL_CLIP_RATIO
    if changed and actor.clip_ratio not in (actor.clip_ratio_low, actor.clip_ratio_high):
        yield error(
            "TR401",
            f"clip_ratio={actor.clip_ratio} is ignored: verl clips at clip_ratio_low={actor.clip_ratio_low} and "
            f"clip_ratio_high={actor.clip_ratio_high}",
            "set actor_rollout_ref.actor.clip_ratio_low and .clip_ratio_high",
        )
    if not ledger.clip_can_act and actor.clip_ratio_low != actor.clip_ratio_high:
        yield warning(
            "TR402", "one update a batch: the ratio is always 1, so clip_ratio_high never acts",
            "make actor_rollout_ref.actor.ppo_mini_batch_size smaller than data.train_batch_size",
        )  # fmt: skip


def _positive(ledger: BatchLedger) -> Iterator[Finding]:
    positive = {
        "data.train_batch_size": ledger.prompts,
        "actor_rollout_ref.rollout.n": ledger.responses_per_prompt,
        "actor_rollout_ref.actor.ppo_mini_batch_size": ledger.mini_batch_prompts,
        "trainer.n_gpus_per_node x trainer.nnodes": ledger.devices,
    }
    for key, value in positive.items():
        if not isinstance(value, int) or value < 1:
            yield error("TR403", f"{key}={value} must be a positive integer", f"set {key}")
            return


def _sizes(ledger: BatchLedger) -> Iterator[Finding]:
    if ledger.responses_per_prompt == 1:
        yield error(
            "TR404", "rollout.n=1: a group of one response has no advantage, so nothing is learned",
            "set actor_rollout_ref.rollout.n to 2 or more",
        )  # fmt: skip
    if ledger.prompts % ledger.mini_batch_prompts:
        yield error(
            "TR405",
            f"data.train_batch_size={ledger.prompts} is not a multiple of "
            f"ppo_mini_batch_size={ledger.mini_batch_prompts} (both count prompts)",
            "choose sizes that divide",
        )
    if ledger.responses_per_update % ledger.devices:
        yield error(
            "TR406",
            f"{ledger.responses_per_update} responses an update cannot be shared by {ledger.devices} devices",
            "make ppo_mini_batch_size x rollout.n a multiple of the number of devices",
        )
    elif ledger.micro_batch_per_device and (
        ledger.responses_per_update // ledger.devices % ledger.micro_batch_per_device
    ):
        yield error(
            "TR407",
            f"{ledger.responses_per_update // ledger.devices} responses a device and update are not a multiple of "
            f"ppo_micro_batch_size_per_gpu={ledger.micro_batch_per_device}",
            "choose sizes that divide, or actor_rollout_ref.actor.use_dynamic_bsz=true",
        )
    longest = ledger.prompt_limit + ledger.response_limit
    if ledger.micro_batch_per_device is None and ledger.micro_batch_tokens < longest:
        yield error(
            "TR408",
            f"ppo_max_token_len_per_gpu={ledger.micro_batch_tokens} is less than one full sequence ({longest})",
            "raise actor_rollout_ref.actor.ppo_max_token_len_per_gpu",
        )
