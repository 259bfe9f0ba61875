"""TR451, TR452, TR454 to TR459: settings that do not go together, or not on this hardware (docs/compositions.md)."""

import importlib.util
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight import gpu
from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.ledger import BatchLedger

ENGINES = ("fsdp", "fsdp2")
FSDP_ACTOR = "verl.workers.config.FSDPActorConfig"
FP8_CAPABILITY = 8.9
"""Ada Lovelace, Hopper and later (vLLM's documentation, FP8 W8A8)."""
MODES = ("sync", "colocate_async", "separate_async")
QUIET = ("WARNING", "WARN", "ERROR", "CRITICAL")
ULYSSES_ATTENTION = ("flash_attention_2", "flash_attention_3", "packed_sdpa")
"""Attention that verl's Ulysses wraps; the others are called past it."""
FSDP = "actor_rollout_ref.actor.fsdp_config"
ROLLOUT = "actor_rollout_ref.rollout"
MODEL = "actor_rollout_ref.model"


def check(config: DictConfig) -> Iterator[Finding]:
    """All checks that need the config and the GPUs' table alone."""
    yield from _engine(config)
    yield from _fp8(config)
    yield from _lora(config)
    yield from _hsdp(config)
    yield from _mode(config)
    if config.trainer.v1.trainer_mode == "separate_async":
        yield from _separate(config)
    yield from _packed(config)


def _engine(config: DictConfig) -> Iterator[Finding]:
    actor = config.actor_rollout_ref.actor
    if actor.strategy in ENGINES and actor.get("_target_", FSDP_ACTOR) == FSDP_ACTOR:
        return
    where = actor.strategy if actor.strategy not in ENGINES else str(actor._target_).rpartition(".")[2]
    yield error(
        "TR451", f"the actor runs on {where}: TR-GRPO's metrics, whole-batch weights and probe live in verl's FSDP "
        "engine, and megatron-core, mbridge, veomni and torchtitan are not among the locked packages",
        "use actor_rollout_ref.actor.strategy=fsdp2 and leave model_engine; for a model too large for it: "
        "with=[offload], with=[lora] or with=[hsdp,sequence_parallel]",
    )  # fmt: skip


def _fp8(config: DictConfig) -> Iterator[Finding]:
    if config.actor_rollout_ref.rollout.get("quantization") != "fp8":
        return
    if config.trainer.device != "cuda":
        yield error(
            "TR452", f"rollout.quantization=fp8 and trainer.device={config.trainer.device}: vLLM's FP8 needs a GPU",
            f"set {ROLLOUT}.quantization=null",
        )  # fmt: skip
        return
    if old := [one for one in gpu.query()[0] if 0 < one.capability < FP8_CAPABILITY]:
        yield error(
            "TR452", f"rollout.quantization=fp8, and GPU {old[0].index} ({old[0].name}) has compute capability "
            f"{old[0].capability}: FP8 arithmetic begins at {FP8_CAPABILITY}",
            f"set {ROLLOUT}.quantization=null, or use Ada, Hopper or newer GPUs",
        )  # fmt: skip
    correction = config.algorithm.rollout_correction or {}
    if not correction.get("rollout_is"):
        yield warning(
            "TR452", "rollout.quantization=fp8 without algorithm.rollout_correction.rollout_is: vLLM's policy is "
            "another than the actor's, and verl reports an obvious loss of accuracy without importance weights",
            "set algorithm.rollout_correction.rollout_is=token, as with=[fp8_rollout] does",
        )  # fmt: skip


def _lora(config: DictConfig) -> Iterator[Finding]:
    model, rollout = config.actor_rollout_ref.model, config.actor_rollout_ref.rollout
    if model.lora_rank <= 0:
        return
    if OmegaConf.select(config, "actor_rollout_ref.actor.policy_loss.sharpness_every"):
        yield warning(
            "TR454", f"policy_loss.sharpness_every with model.lora_rank={model.lora_rank}: only the adapters can be "
            "moved, so the probe tells the sharpness in their subspace",
            "compare it with runs of the same rank and targets alone, or set sharpness_every=0",
        )  # fmt: skip
    if model.lora.get("merge"):
        return
    if config.trainer.v1.trainer_mode == "separate_async":
        yield error(
            "TR455", "model.lora_rank with trainer_mode=separate_async: verl sends the base weights and never the "
            "adapters, so vLLM would answer with the untrained model for ever",
            f"set {MODEL}.lora.merge=true, which sends them merged",
        )  # fmt: skip
    elif rollout.get("layered_summon") and "dummy" in rollout.load_format:
        yield error(
            "TR455", "rollout.layered_summon=true sends adapters alone, and rollout.load_format="
            f"{rollout.load_format} gives vLLM no base model",
            f"set {ROLLOUT}.load_format=safetensors",
        )  # fmt: skip


def _hsdp(config: DictConfig) -> Iterator[Finding]:
    devices = BatchLedger.from_config(config).devices
    for part in ("actor", "ref"):
        size = OmegaConf.select(config, f"actor_rollout_ref.{part}.fsdp_config.fsdp_size")
        if size is None or size == -1:
            continue
        if size <= 0 or (size < devices and devices % size):
            yield error(
                "TR456", f"{part}.fsdp_config.fsdp_size={size} does not divide {devices} devices into groups",
                f"set actor_rollout_ref.{part}.fsdp_config.fsdp_size to a divisor, or to -1 for one group",
            )  # fmt: skip
            return
    size, chosen = OmegaConf.select(config, f"{FSDP}.fsdp_size"), str(config.group.get("with", "")).split(",")
    if "hsdp" in chosen and size >= devices:
        yield warning(
            "TR456", f"with=[hsdp] and groups of {size} for {devices} devices: that is one group, plain FSDP",
            f"leave hsdp out, or set {FSDP}.fsdp_size to less",
        )  # fmt: skip


def _mode(config: DictConfig) -> Iterator[Finding]:
    mode = config.trainer.v1.trainer_mode
    if mode not in MODES:
        yield error("TR458", f"trainer.v1.trainer_mode={mode} is unknown", f"choose one of {', '.join(MODES)}")
    elif mode != "sync" and not config.trainer.use_v1:
        yield error(
            "TR458", f"trainer.v1.trainer_mode={mode} and trainer.use_v1=false: verl's V0 trainer ignores it",
            "set trainer.use_v1=true, or trainer.v1.trainer_mode=sync",
        )  # fmt: skip


def _separate(config: DictConfig) -> Iterator[Finding]:
    """What verl asserts in a worker, minutes later, and what Ray would wait for."""
    rollout, trainer = config.actor_rollout_ref.rollout, config.trainer
    engine = rollout.checkpoint_engine
    batch, mini = config.data.train_batch_size, config.actor_rollout_ref.actor.ppo_mini_batch_size
    if batch != trainer.v1.separate_async.parameter_sync_step * mini:
        yield error(
            "TR457", f"separate_async: data.train_batch_size={batch} is not v1.separate_async.parameter_sync_step="
            f"{trainer.v1.separate_async.parameter_sync_step} x actor.ppo_mini_batch_size={mini}",
            f"set trainer.v1.separate_async.parameter_sync_step={max(batch // mini, 1)}"
            + ("" if batch % mini == 0 else " and a train_batch_size that the mini-batch divides"),
        )  # fmt: skip
    own = rollout.nnodes * rollout.n_gpus_per_node
    shared = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
    if own <= 0 or own % shared:
        yield error(
            "TR457", f"separate_async: rollout.nnodes={rollout.nnodes} x n_gpus_per_node={rollout.n_gpus_per_node} "
            f"devices for vLLM engines of {shared}",
            f"set {ROLLOUT}.nnodes and {ROLLOUT}.n_gpus_per_node to a multiple",
        )  # fmt: skip
    backends = {"cuda": ("nccl", "cupy"), "cpu": ("gloo", "torch")}
    backend, package = backends.get(trainer.device, ("nccl", "cupy"))
    if engine.backend == "naive" or (trainer.device == "cpu" and engine.backend != backend):
        yield error(
            "TR457", f"separate_async: checkpoint_engine.backend={engine.backend} cannot bring weights to another "
            f"process with trainer.device={trainer.device}",
            f"set {ROLLOUT}.checkpoint_engine.backend={backend}, as with=[one_step_off] does",
        )  # fmt: skip
    elif engine.backend == "nccl" and importlib.util.find_spec(package) is None:
        yield error(
            "TR457", "separate_async: checkpoint_engine.backend=nccl needs the package cupy, which is not installed",
            "install cupy for your CUDA (cupy-cuda12x or cupy-cuda13x), or choose another backend of verl's",
        )  # fmt: skip
    slots = OmegaConf.select(config, "ray_kwargs.ray_init.num_gpus")
    wanted = trainer.nnodes * trainer.n_gpus_per_node + own
    if slots is not None and slots < wanted:
        yield error(
            "TR457", f"separate_async: {wanted} devices, {own} of them for rollouts, and ray_init.num_gpus={slots}: "
            "Ray would wait for ever",
            f"set ray_kwargs.ray_init.num_gpus={wanted}, or fewer devices",
        )  # fmt: skip
    bypass = OmegaConf.select(config, "algorithm.rollout_correction.bypass_mode")
    if OmegaConf.select(config, f"{FSDP}.param_offload") and batch > mini and not bypass:
        yield error(
            "TR457", f"separate_async with fsdp_config.param_offload=true: between its {batch // mini} updates verl "
            "sets weights aside by reference where they wait on the host, so all but the last update is undone",
            f"set {FSDP}.param_offload=false (optimizer_offload may stay), or one update a step",
        )  # fmt: skip
    level = OmegaConf.select(config, "ray_kwargs.ray_init.runtime_env.env_vars.VERL_LOGGING_LEVEL")
    if not config.actor_rollout_ref.hybrid_engine and str(level).upper() not in QUIET:
        yield error(
            "TR457", f"separate_async with actor_rollout_ref.hybrid_engine=false and VERL_LOGGING_LEVEL={level}: verl "
            "0.9.1 stops where it logs that at the level INFO",
            "set ray_kwargs.ray_init.runtime_env.env_vars.VERL_LOGGING_LEVEL=WARNING",
        )  # fmt: skip


def _packed(config: DictConfig) -> Iterator[Finding]:
    """Ulysses sits around flash attention; another kind would see its own part of the sequence, and say nothing."""
    model = config.actor_rollout_ref.model
    kind = OmegaConf.select(config, f"{MODEL}.override_config.attn_implementation") or "flash_attention_2"
    size = OmegaConf.select(config, "actor_rollout_ref.actor.ulysses_sequence_parallel_size") or 1
    if size > 1 and kind not in ULYSSES_ATTENTION:
        yield error(
            "TR459", f"actor.ulysses_sequence_parallel_size={size} with attn_implementation={kind}: verl shares "
            "sequences around flash attention only, so each device would attend to its own part, without a word",
            f"set {MODEL}.override_config.attn_implementation to flash_attention_2, or packed_sdpa on a CPU",
        )  # fmt: skip
    if kind == "packed_sdpa" and (config.trainer.device != "cpu" or not model.use_remove_padding):
        yield error(
            "TR459", f"attn_implementation=packed_sdpa with trainer.device={config.trainer.device} and "
            f"model.use_remove_padding={model.use_remove_padding}: it is for packed batches on a CPU",
            f"set {MODEL}.use_remove_padding=true on a CPU; flash_attention_2 or sdpa elsewhere",
        )  # fmt: skip
    if size > 1 and kind.startswith("flash") and config.trainer.device == "cpu":
        yield error(
            "TR459", f"attn_implementation={kind} and trainer.device=cpu: flash attention needs a GPU",
            f"set {MODEL}.override_config.attn_implementation=packed_sdpa, as with=[sequence_parallel] does",
        )  # fmt: skip
