"""TR424 to TR429, TR436 to TR441: how responses are sampled, shared among devices and seeded."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.ledger import BatchLedger

ROLLOUT = "actor_rollout_ref.rollout"
ACTOR = "actor_rollout_ref.actor"


def check(config: DictConfig) -> Iterator[Finding]:
    """All checks that need nothing but the config."""
    yield from _training(config)
    yield from _validation(config)
    yield from _parallelism(config)
    yield from _penalties(config)
    yield from _seeds(config)


def _training(config: DictConfig) -> Iterator[Finding]:
    rollout = config.actor_rollout_ref.rollout
    if rollout.temperature <= 0:
        yield error(
            "TR424", f"rollout.temperature={rollout.temperature}: all responses of a group are the same, so every "
            "advantage is 0, and verl divides logits by it",
            f"set {ROLLOUT}.temperature above 0; validation has its own, {ROLLOUT}.val_kwargs.temperature",
        )  # fmt: skip
    if rollout.top_p < 1 or rollout.top_k > 0:
        yield warning(
            "TR425",
            f"rollout.top_p={rollout.top_p}, top_k={rollout.top_k}: vLLM samples from a truncated distribution, "
            "but the actor's log-probabilities are of the whole one, so the ratio is biased",
            f"set {ROLLOUT}.top_p=1 and {ROLLOUT}.top_k=-1",
        )  # fmt: skip
    ledger = BatchLedger.from_config(config)
    longest = ledger.prompt_limit + ledger.response_limit
    if rollout.max_model_len is not None and rollout.max_model_len < longest:
        yield error(
            "TR436", f"rollout.max_model_len={rollout.max_model_len} is less than data.max_prompt_length + "
            f"data.max_response_length = {longest}",
            f"raise {ROLLOUT}.max_model_len, or set it to null",
        )  # fmt: skip
    if OmegaConf.select(config, "algorithm.filter_groups.enable") and not config.trainer.use_v1:
        yield error(
            "TR437", "algorithm.filter_groups.enable=true and trainer.use_v1=false: verl's V0 trainer keeps the groups "
            "without a signal and says nothing",
            "set trainer.use_v1=true, or algorithm.filter_groups.enable=false",
        )  # fmt: skip
    correction = config.algorithm.rollout_correction or {}
    wanted = [key for key in ("rollout_is", "rollout_rs", "bypass_mode") if correction.get(key)]
    if wanted and not rollout.calculate_log_probs:
        yield error(
            "TR438",
            f"algorithm.rollout_correction.{wanted[0]}={correction[wanted[0]]} needs vLLM's log-probabilities, "
            "but rollout.calculate_log_probs=false",
            f"set {ROLLOUT}.calculate_log_probs=true",
        )  # fmt: skip


def _validation(config: DictConfig) -> Iterator[Finding]:
    validation = config.actor_rollout_ref.rollout.val_kwargs
    if validation.n > 1 and (not validation.do_sample or validation.temperature <= 0):
        yield warning(
            "TR427", f"rollout.val_kwargs.n={validation.n} with do_sample={validation.do_sample} and "
            f"temperature={validation.temperature}: {validation.n} times the same greedy response",
            f"set {ROLLOUT}.val_kwargs.do_sample=true and a temperature, or n=1",
        )  # fmt: skip


def _parallelism(config: DictConfig) -> Iterator[Finding]:
    rollout, devices = config.actor_rollout_ref.rollout, BatchLedger.from_config(config).devices
    engine = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
    if devices % engine:
        yield error(
            "TR428",
            f"{devices} devices cannot be shared by vLLM engines of {engine} (rollout.tensor_model_parallel_size="
            f"{rollout.tensor_model_parallel_size} x data x pipeline parallel size): verl leaves the rest idle",
            f"choose a {ROLLOUT}.tensor_model_parallel_size that divides",
        )  # fmt: skip
    sizes = {
        OmegaConf.select(config, f"actor_rollout_ref.{part}.ulysses_sequence_parallel_size") or 1: part
        for part in ("ref", "actor")
    }
    for size, part in sizes.items():  # the reference's follows the actor's unless it is set
        if devices % size:
            yield error(
                "TR429", f"{part}.ulysses_sequence_parallel_size={size} does not divide {devices} devices",
                f"set actor_rollout_ref.{part}.ulysses_sequence_parallel_size to a divisor",
            )  # fmt: skip
        elif size > 1 and not config.actor_rollout_ref.model.use_remove_padding:
            yield error(
                "TR429", f"{part}.ulysses_sequence_parallel_size={size} needs model.use_remove_padding=true",
                "set actor_rollout_ref.model.use_remove_padding=true",
            )  # fmt: skip


def _penalties(config: DictConfig) -> Iterator[Finding]:
    if config.algorithm.use_kl_in_reward and config.actor_rollout_ref.actor.use_kl_loss:
        yield warning(
            "TR426", "algorithm.use_kl_in_reward=true and actor.use_kl_loss=true: the KL penalty counts in the reward "
            "and again in the loss",
            f"choose one: algorithm.use_kl_in_reward=false (GRPO), or {ACTOR}.use_kl_loss=false",
        )  # fmt: skip
    if config.actor_rollout_ref.actor.optim.lr <= 0:
        yield warning(
            "TR441", f"actor.optim.lr={config.actor_rollout_ref.actor.optim.lr}: the run will learn nothing",
            f"set {ACTOR}.optim.lr, e.g. 1e-6",
        )  # fmt: skip


def _seeds(config: DictConfig) -> Iterator[Finding]:
    if config.data.seed is None and config.data.shuffle:
        yield warning(
            "TR439", "data.seed is not set: every run shuffles with torch's default seed, so repeated runs are no "
            "replicates, and `tr-grpo compare` cannot pair them",
            "set data.seed, another one for each repetition",
        )  # fmt: skip
    keys = ("actor_rollout_ref.rollout.full_determinism", f"{ACTOR}.fsdp_config.full_determinism")
    wanted = [key for key in keys if OmegaConf.select(config, key)]
    if wanted and config.trainer.use_v1:
        yield warning(
            "TR440", f"{wanted[0]}=true and trainer.use_v1=true: V1 takes responses in the order in which they finish, "
            "so two runs differ all the same",
            "set trainer.use_v1=false for runs that repeat bit for bit, or full_determinism=false",
        )  # fmt: skip
