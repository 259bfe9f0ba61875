"""Memory of one GPU in each phase of a step: what is there, by which formula, and the knob that shrinks it.

verl's actor and vLLM share the GPUs and take turns, so phases follow each other and their memory is not added up. What
stays through all of them does: weights and optimizer states that are not offloaded, the CUDA context, and what vLLM
keeps while it sleeps. Sources: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054) for weights, gradients and optimizer
states over ranks; Korthikanti et al. 2022 (arXiv 2205.05198) for activations; Kwon et al. 2023 (arXiv 2309.06180) and
vLLM's documentation for the cache; verl 0.9.1's FSDP engine and weight transfer for what is alive when.
"""

from dataclasses import dataclass

from tr_grpo.trainer.plan import activations
from tr_grpo.trainer.plan.assumptions import Assumptions
from tr_grpo.trainer.plan.devices import GIB, Card
from tr_grpo.trainer.plan.setting import ACTOR, ROLLOUT, Setting
from tr_grpo.trainer.plan.shapes import ModelShape

MODEL = "actor_rollout_ref.model"
FSDP = f"{ACTOR}.fsdp_config"
REDUCE_BYTES = 4  # verl reduces gradients in fp32 (mixed_precision.reduce_dtype)


@dataclass(frozen=True)
class Item:
    """One kind of memory: bytes a GPU, how they are counted, and the key that shrinks them."""

    name: str
    bytes: float
    formula: str
    knob: str = ""


@dataclass(frozen=True)
class Phase:
    """What is on a GPU at the same time."""

    name: str
    items: tuple[Item, ...]

    @property
    def bytes(self) -> float:
        """All items."""
        return sum(item.bytes for item in self.items)

    @property
    def largest(self) -> Item:
        """The item to shrink first."""
        return max((item for item in self.items if item.knob), key=lambda item: item.bytes)


@dataclass(frozen=True)
class KVCache:
    """vLLM's cache on one engine."""

    bytes: float
    """On one GPU; negative where weights and workspace alone exceed vLLM's share."""
    tokens: float
    """That the engine can hold."""


@dataclass(frozen=True)
class Memory:
    """The phases of a step on one GPU, vLLM's cache, and what waits on the host."""

    phases: tuple[Phase, ...]
    cache: KVCache
    host: float
    """Bytes a node."""

    @property
    def peak(self) -> Phase:
        """The phase with the most."""
        return max(self.phases, key=lambda phase: phase.bytes)


def trainable(shape: ModelShape, run: Setting) -> int:
    """Parameters that have gradients."""
    return shape.lora_parameters(run.lora_rank) if run.lora_rank else shape.parameters


def kv_bytes_per_token(shape: ModelShape, run: Setting) -> float:
    """Bytes of a token's keys and values on each GPU of an engine; heads fewer than GPUs are copied."""
    split = min(run.tensor_parallel, shape.kv_heads)
    return shape.kv_elements_per_token * run.rollout_bytes / split


def kv_cache(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> KVCache:
    """What vLLM's share leaves for keys and values."""
    share = run.gpu_memory_utilization * card.memory
    left = share - _vllm_weights(shape, run) - assumed.vllm_workspace_gib * GIB
    return KVCache(left, max(0.0, left) / kv_bytes_per_token(shape, run))


def memory(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> Memory:
    """Every phase of a step."""
    cache = kv_cache(shape, run, card, assumed)
    phases = (
        Phase("rollout", (*_resident(shape, run, assumed, at_work=False), *_vllm(shape, run, card, assumed, cache))),
        Phase("weight sync", _sync(shape, run, card, assumed)),
        Phase("log-probabilities", _logprobs(shape, run, card, assumed, reference=False)),
        *([Phase("reference", _logprobs(shape, run, card, assumed, reference=True))] if run.reference else []),
        Phase("update: backward", _backward(shape, run, card, assumed)),
        Phase("update: optimizer step", _optimizer_step(shape, run, card, assumed)),
    )
    return Memory(phases, cache, _host(shape, run))


def _weights(shape: ModelShape, run: Setting) -> Item:
    size = shape.parameters + (trainable(shape, run) if run.lora_rank else 0)
    return Item(
        "weights, stored",
        size * run.master_bytes / run.shards,
        f"{run.master_bytes} N / {run.shards} shards",
        f"{FSDP}.param_offload",
    )


def _optimizer(shape: ModelShape, run: Setting) -> Item:
    return Item(
        "AdamW states",
        2 * run.master_bytes * trainable(shape, run) / run.shards,
        f"2 × {run.master_bytes} N / {run.shards} shards" + (", N: LoRA's" if run.lora_rank else ""),
        f"{FSDP}.optimizer_offload",
    )


def _resident(shape: ModelShape, run: Setting, assumed: Assumptions, *, at_work: bool) -> list[Item]:
    """What the training process keeps; ``at_work`` brings offloaded weights back for a pass."""
    items = [Item("CUDA context, NCCL", assumed.context_gib * GIB, "assumed")]
    if not run.offload_policy and (at_work or not run.param_offload):
        items.append(_weights(shape, run))
    if not run.offload_policy and not run.optimizer_offload:
        items.append(_optimizer(shape, run))
    return items


def _vllm_weights(shape: ModelShape, run: Setting) -> float:
    return shape.parameters * run.rollout_bytes / run.tensor_parallel


def _vllm(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions, cache: KVCache) -> list[Item]:
    utilization = f"{ROLLOUT}.gpu_memory_utilization"
    return [
        Item(
            "vLLM: weights",
            _vllm_weights(shape, run),
            f"{run.rollout_bytes} N / TP {run.tensor_parallel}",
            f"{ROLLOUT}.tensor_model_parallel_size",
        ),
        Item("vLLM: workspace", assumed.vllm_workspace_gib * GIB, "assumed", f"{ROLLOUT}.max_num_batched_tokens"),
        Item(
            "vLLM: KV cache",
            max(0.0, cache.bytes),
            f"{run.gpu_memory_utilization:g} × card − weights − workspace",
            utilization,
        ),
    ]


def _asleep(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> list[Item]:
    if run.sleeps:
        return [Item("vLLM, asleep", assumed.asleep_gib * GIB, "assumed", f"{ROLLOUT}.enforce_eager")]
    return _vllm(shape, run, card, assumed, kv_cache(shape, run, card, assumed))


def _sync(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> tuple[Item, ...]:
    """vLLM's weights are back, its cache is not yet; one tensor at a time is gathered whole, as it is stored."""
    vllm = _vllm(shape, run, card, assumed, kv_cache(shape, run, card, assumed))
    return (
        *_resident(shape, run, assumed, at_work=False),
        *(vllm[:1] if run.sleeps else vllm),
        Item(
            "transfer bucket", run.bucket_bytes, "one", f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes"
        ),
        Item(
            "largest tensor, whole",
            shape.embedding_parameters * run.master_bytes,
            f"{run.master_bytes} × vocabulary × hidden",
            f"{FSDP}.model_dtype",
        ),
    )


def _gathered(shape: ModelShape, run: Setting) -> Item:
    """FSDP2 frees a layer after use and gathers the next meanwhile; the root (embedding, output) stays."""
    units = 2 * shape.parameters_per_layer if run.reshard else shape.layers * shape.parameters_per_layer
    return Item(
        "weights, gathered",
        (shape.root_parameters + units) * run.compute_bytes,
        f"{run.compute_bytes} × (embedding and output + {'2 layers' if run.reshard else 'all layers'})",
        f"{FSDP}.reshard_after_forward",
    )


def _logprobs(
    shape: ModelShape, run: Setting, card: Card, assumed: Assumptions, *, reference: bool
) -> tuple[Item, ...]:
    held = activations.inference(
        shape,
        run.logprob_tokens,
        width=run.compute_bytes,
        temperature=run.temperature,
        fused=run.fused_logits,
        # verl computes the entropy with the old log-probabilities, not with the reference's.
        entropy="" if reference else "compiled" if run.compiled and not run.entropy_chunk else "plain",
        chunk=run.entropy_chunk,
    )
    # FSDP2's reference is on the host by verl's choice (CPUOffloadPolicy); its gathered layers are not.
    return (
        *_resident(shape, run, assumed, at_work=not reference),
        *_asleep(shape, run, card, assumed),
        _gathered(shape, run),
        *_activation_items(held, run.logprob_tokens, f"{ROLLOUT}.log_prob_max_token_len_per_gpu", run),
    )


def _activation_items(held: activations.Activations, tokens: int, knob: str, run: Setting) -> list[Item]:
    """The larger of the two moments of :attr:`Activations.peak`."""
    knob = knob if run.dynamic else knob.replace("max_token_len", "micro_batch_size")
    saved = Item("activations", held.saved, f"{tokens:,} tokens", knob)
    at_logits = held.head + held.logits
    if at_logits >= held.recomputed + held.layer_gradients:
        return [saved, Item("logits", at_logits, f"{tokens:,} tokens × vocabulary", knob)]
    return [saved, Item("one layer at work", held.recomputed + held.layer_gradients, f"{tokens:,} tokens", knob)]


def _backward(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> tuple[Item, ...]:
    held = activations.training(
        shape,
        run.update_tokens,
        width=run.compute_bytes,
        checkpointing=run.checkpointing,
        temperature=run.temperature,
        fused=run.fused_logits,
        entropy=run.entropy_in_update,
        offload=run.activation_offload,
    )
    whole = 0 if run.lora_rank else shape.embedding_parameters * run.compute_bytes
    layer = 0 if run.lora_rank else shape.parameters_per_layer * (run.compute_bytes + REDUCE_BYTES)
    return (
        *_training(shape, run, card, assumed),
        _gathered(shape, run),
        Item(
            "gradients, before reduction",
            whole + layer,
            f"{run.compute_bytes} × output + {run.compute_bytes + REDUCE_BYTES} × a layer",
            f"{MODEL}.lora_rank",
        ),
        *_activation_items(held, run.update_tokens, f"{ACTOR}.ppo_max_token_len_per_gpu", run),
    )


def _training(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> list[Item]:
    """What an update holds throughout: verl loads offloaded weights and states for it, so offloading helps little."""
    items = [*_resident(shape, run, assumed, at_work=True), *_asleep(shape, run, card, assumed)]
    if run.offload_policy:
        return items
    if run.optimizer_offload:
        items.append(_optimizer(shape, run))
    size = run.master_bytes * trainable(shape, run) / run.shards
    formula = f"{run.master_bytes} N / {run.shards} shards"
    return [*items, Item("gradients", size, formula, f"{FSDP}.offload_policy")]


def _optimizer_step(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> tuple[Item, ...]:
    """torch's AdamW works on all tensors at once (foreach) and holds the roots of the second moments meanwhile."""
    scratch = 0 if run.offload_policy else run.master_bytes * trainable(shape, run) / run.shards
    return (
        *_training(shape, run, card, assumed),
        Item("AdamW, at work", scratch, f"{run.master_bytes} N / {run.shards} shards", f"{FSDP}.offload_policy"),
    )


def _host(shape: ModelShape, run: Setting) -> float:
    """Bytes on each node's host: offloaded weights, states and gradients, and the reference."""
    weights, states = _weights(shape, run).bytes, _optimizer(shape, run).bytes
    size = run.reference * shape.parameters * run.master_bytes / run.shards
    size += weights * (run.param_offload or run.offload_policy)
    size += states * (run.optimizer_offload or run.offload_policy)
    size += run.offload_policy * trainable(shape, run) * run.master_bytes / run.shards
    return size * run.gpus_per_node
