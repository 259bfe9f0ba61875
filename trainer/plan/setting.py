"""What a plan takes from a run's composed config: verl's keys as numbers, refused where they are not covered."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tr_grpo.data_prep.errors import InputError

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
BYTES = {"fp32": 4, "float32": 4, "float": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2, "half": 2}


@dataclass(frozen=True)
class Setting:
    """One run: lengths in tokens, batches in prompts or responses as verl counts them, sizes of a number in bytes."""

    nodes: int
    gpus_per_node: int
    shards: int
    """GPUs over which FSDP spreads one copy of the weights."""
    sequence_parallel: int
    prompts: int
    responses_per_prompt: int
    mini_batch_prompts: int
    epochs: int
    prompt_limit: int
    response_limit: int
    update_tokens: int
    """Tokens of the largest micro-batch on a GPU."""
    logprob_tokens: int
    logprob_follows: bool
    """``logprob_tokens`` is whatever ``update_tokens`` is: verl's default."""
    dynamic: bool
    packed: bool
    """Sequences without padding (``use_remove_padding``), which verl's Ulysses needs."""
    master_bytes: int
    """A stored weight (``model_dtype``)."""
    compute_bytes: int
    """A weight in a layer's arithmetic (``mixed_precision.param_dtype``)."""
    param_offload: bool
    optimizer_offload: bool
    offload_policy: bool
    reshard: bool
    checkpointing: bool
    activation_offload: bool
    fused_logits: bool
    compiled: bool
    entropy_in_update: bool
    entropy_chunk: int
    """Tokens of a chunk of the entropy; 0: all at once."""
    temperature: float
    lora_rank: int
    reference: bool
    """A reference model exists beside the actor; LoRA switches its adapters off instead."""
    recompute_old: bool
    tensor_parallel: int
    gpu_memory_utilization: float
    rollout_bytes: int
    sleeps: bool
    max_num_seqs: int
    max_model_len: int
    bucket_bytes: int

    @property
    def gpus(self) -> int:
        """All GPUs of the run."""
        return self.nodes * self.gpus_per_node

    @property
    def responses(self) -> int:
        """Responses a step."""
        return self.prompts * self.responses_per_prompt

    @property
    def updates(self) -> int:
        """Optimizer updates a step."""
        return max(1, self.prompts // self.mini_batch_prompts) * self.epochs

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.prompt_limit + self.response_limit

    @property
    def engines(self) -> int:
        """vLLM engines, each on ``tensor_parallel`` GPUs."""
        return max(1, self.gpus // self.tensor_parallel)


def read(config: DictConfig) -> Setting:
    """The plan's numbers from a composed config.

    Raises:
        InputError: a trainer, engine or algorithm that the plan does not cover, a value that is no number, or
            micro-batches without a size.
    """
    _covered(config)
    actor, rollout, model = (
        config.actor_rollout_ref.actor,
        config.actor_rollout_ref.rollout,
        config.actor_rollout_ref.model,
    )
    engine = actor.fsdp_config
    count = partial(_count, config)
    nodes, per_node = count("trainer.nnodes"), count("trainer.n_gpus_per_node")
    gpus = nodes * per_node
    prompt, response = count("data.max_prompt_length"), count("data.max_response_length")
    longest = prompt + response
    parallel = count(f"{ACTOR}.ulysses_sequence_parallel_size", divides=gpus)
    whole = engine.fsdp_size in (-1, 0)
    precision = engine.get("mixed_precision") or {}
    lora = count("actor_rollout_ref.model.lora_rank", least=0) or count("actor_rollout_ref.model.lora.rank", least=0)
    return Setting(
        nodes=nodes,
        gpus_per_node=per_node,
        shards=gpus if whole else count(f"{ACTOR}.fsdp_config.fsdp_size", divides=gpus),
        sequence_parallel=parallel,
        prompts=count("data.train_batch_size"),
        responses_per_prompt=count(f"{ROLLOUT}.n"),
        mini_batch_prompts=count(f"{ACTOR}.ppo_mini_batch_size"),
        epochs=count(f"{ACTOR}.ppo_epochs"),
        prompt_limit=prompt,
        response_limit=response,
        update_tokens=_micro_batch(config, f"{ACTOR}.use_dynamic_bsz", f"{ACTOR}.ppo_", longest, parallel),
        logprob_tokens=_micro_batch(
            config, f"{ROLLOUT}.log_prob_use_dynamic_bsz", f"{ROLLOUT}.log_prob_", longest, parallel
        ),
        logprob_follows=OmegaConf.is_interpolation(rollout, "log_prob_max_token_len_per_gpu"),
        dynamic=bool(actor.use_dynamic_bsz),
        packed=bool(model.use_remove_padding),
        master_bytes=_bytes(f"{ACTOR}.fsdp_config.model_dtype", engine.model_dtype or "fp32"),
        compute_bytes=_bytes(f"{ACTOR}.fsdp_config.mixed_precision.param_dtype", precision.get("param_dtype", "bf16")),
        param_offload=bool(engine.param_offload),
        optimizer_offload=bool(engine.optimizer_offload),
        offload_policy=bool(engine.offload_policy),
        reshard=bool(engine.reshard_after_forward),
        checkpointing=bool(model.enable_gradient_checkpointing),
        activation_offload=bool(model.enable_activation_offload),
        fused_logits=bool(model.use_fused_kernels),
        compiled=bool(engine.use_torch_compile),
        entropy_in_update=bool(actor.calculate_entropy or actor.entropy_coeff),
        entropy_chunk=count(f"{ACTOR}.fsdp_config.entropy_from_logits_chunk_size")
        if engine.entropy_from_logits_with_chunking
        else 0,
        temperature=_real(config, f"{ROLLOUT}.temperature"),
        lora_rank=lora,
        reference=bool(actor.use_kl_loss or config.algorithm.use_kl_in_reward) and not lora,
        recompute_old=not OmegaConf.select(config, "algorithm.rollout_correction.bypass_mode", default=False),
        tensor_parallel=count(f"{ROLLOUT}.tensor_model_parallel_size", divides=gpus),
        gpu_memory_utilization=_real(config, f"{ROLLOUT}.gpu_memory_utilization", most=1.0),
        rollout_bytes=_bytes(f"{ROLLOUT}.dtype", rollout.dtype),
        sleeps=bool(rollout.free_cache_engine and rollout.get("enable_sleep_mode", True)),
        max_num_seqs=count(f"{ROLLOUT}.max_num_seqs"),
        max_model_len=longest if rollout.max_model_len is None else count(f"{ROLLOUT}.max_model_len"),
        bucket_bytes=count(f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes") * 1024**2,
    )


def _covered(config: DictConfig) -> None:
    """Refuse what the formulas do not describe."""
    covered: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
        ("trainer.device", config.trainer.device, ("cuda",)),
        ("actor_rollout_ref.actor.strategy", config.actor_rollout_ref.actor.strategy, ("fsdp", "fsdp2")),
        ("actor_rollout_ref.rollout.name", config.actor_rollout_ref.rollout.name, ("vllm",)),
        ("trainer.v1.trainer_mode", config.trainer.v1.trainer_mode, ("sync",)),
        ("actor_rollout_ref.rollout.pipeline_model_parallel_size", _pipeline(config), (1,)),
        ("actor_rollout_ref.rollout.quantization", config.actor_rollout_ref.rollout.quantization, (None,)),
    )
    for key, value, values in covered:
        if value not in values:
            hint = ": choose cluster=gpu_1, node_4x80gb or node_8x80gb" if value == "cpu" else ""
            raise InputError(f"{key}={value}: plan covers {' and '.join(str(each) for each in values)} only{hint}")
    if config.algorithm.adv_estimator == "gae":
        raise InputError("algorithm.adv_estimator=gae: plan covers algorithms without a critic, as grpo")
    if OmegaConf.select(config, "reward.reward_model.enable", default=False):
        raise InputError("reward.reward_model.enable=true: plan does not count a reward model; judge by a rule")


def _pipeline(config: DictConfig) -> int:
    return int(config.actor_rollout_ref.rollout.pipeline_model_parallel_size)


def _micro_batch(config: DictConfig, switch: str, prefix: str, longest: int, parallel: int) -> int:
    """Tokens of the largest micro-batch on one GPU of a sequence-parallel group."""
    if OmegaConf.select(config, switch):
        key = f"{prefix}max_token_len_per_gpu"
        tokens = _count(config, key)
        if tokens * parallel < longest:
            raise InputError(
                f"{key}={tokens}: less than the longest sequence ({longest:,} tokens over {parallel} GPUs), which verl "
                f"refuses in the middle of a step; set {key}={-(-longest // parallel)} or more"
            )
        return tokens
    if OmegaConf.select(config, f"{prefix}micro_batch_size_per_gpu") is None:
        raise InputError(f"{prefix}micro_batch_size_per_gpu is not set; set it, or {switch}=true")
    return -(-_count(config, f"{prefix}micro_batch_size_per_gpu") * longest // parallel)


def _count(config: DictConfig, key: str, divides: int | None = None, least: int = 1) -> int:
    """A whole number of at least ``least``, which ``divides`` the run's GPUs where that is given."""
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{key}={value}: must be a whole number of at least {least}")
    if divides is not None and divides % value:
        raise InputError(
            f"{key}={value}: must divide the run's {divides} GPUs (trainer.nnodes × trainer.n_gpus_per_node)"
        )
    return value


def _real(config: DictConfig, key: str, most: float = float("inf")) -> float:
    """A number from 0 to ``most``."""
    value = OmegaConf.select(config, key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise InputError(f"{key}={value}: must be a number from 0" + (f" to {most:g}" if most < float("inf") else ""))
    return float(value)


def _bytes(key: str, name: Any) -> int:
    if str(name) not in BYTES:
        raise InputError(f"{key}={name}: plan knows {', '.join(BYTES)}")
    return BYTES[str(name)]
