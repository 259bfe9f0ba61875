"""Seconds of each part of a step, from the card's roofline (Williams et al. 2009) and the assumptions.

An update costs 6 N operations a token (Kaplan et al. 2020, arXiv 2001.08361), 8 N with recomputed layers, plus
attention's; a pass for log-probabilities 2 N.
"""

from dataclasses import dataclass

from tr_grpo.trainer.plan.assumptions import Assumptions
from tr_grpo.trainer.plan.devices import GB, Card
from tr_grpo.trainer.plan.memory import KVCache, trainable
from tr_grpo.trainer.plan.rollout import Rollout, lengths, mean_prompt, rollout
from tr_grpo.trainer.plan.setting import Setting
from tr_grpo.trainer.plan.shapes import ModelShape

FIELD_BYTES = 8
FIELDS = 8
"""verl hands about eight tensors a token through its queue: ids, masks, positions, old and reference log-probabilities,
rollout log-probabilities, advantages, each of up to 8 bytes."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of the parts of a step that follow each other."""

    rollout: Rollout
    reward: float
    """Judging that is left when the rollout ends; the rest runs beside it."""
    logprobs: float
    update: float
    communication: float
    """Gathering weights and reducing gradients that arithmetic does not hide."""
    sync: float
    """Sending the new weights to vLLM, and moving offloaded weights and states."""
    data: float
    """The one driver's work: batches, the transfer queue."""
    overhead: float
    tokens: float
    """Prompt and response tokens a step, at the assumed lengths."""

    def parts(self) -> dict[str, float]:
        """Name and seconds, in the order of the step."""
        return {
            "rollout": self.rollout.seconds,
            "reward": self.reward,
            "log-probabilities": self.logprobs,
            "update": self.update,
            "communication": self.communication,
            "weight sync": self.sync,
            "data": self.data,
            "overhead": self.overhead,
        }

    @property
    def seconds(self) -> float:
        """The whole step."""
        return sum(self.parts().values())


def forward_flops(shape: ModelShape, tokens: float, sequence: float) -> float:
    """Operations of a forward pass: a token's 2 N, and causal attention's 2 · layers · width · length."""
    return tokens * (2 * shape.matmul_parameters + 2 * shape.layers * shape.q_width * sequence)


def collective_seconds(
    size: float, ranks: int, run: Setting, card: Card, assumed: Assumptions, *, across: bool = False
) -> float:
    """An all-gather or reduce-scatter of ``size`` bytes in a ring: (ranks − 1) / ranks of it through each GPU.

    Between nodes its share of the network carries it; latency grows with the ranks (Thakur et al. 2005). ``across``:
    the ranks are on nodes of their own, as replicas of an FSDP group are.
    """
    if ranks == 1:
        return 0.0
    bandwidth = card.link if ranks <= run.gpus_per_node and not across else min(card.link, assumed.network_gb_s * GB)
    return size * (ranks - 1) / ranks / (bandwidth * assumed.link_efficiency) + (ranks - 1) * assumed.hop_s


def step_time(shape: ModelShape, run: Setting, card: Card, cache: KVCache, assumed: Assumptions) -> StepTime:
    """All parts of a step at the assumed lengths."""
    written = rollout(shape, run, card, cache, assumed)
    response = float(lengths(min(run.responses, 4096), run, assumed).mean())
    sequence = mean_prompt(run, assumed) + response
    tokens = run.responses * sequence
    forward = forward_flops(shape, tokens, sequence) / (run.gpus * card.flops * assumed.train_mfu)
    # Backward is twice a forward; frozen weights need no gradient of their own.
    passes = (2 if run.lora_rank else 3) + run.checkpointing
    judged = run.responses * assumed.reward_s / (assumed.reward_processes * run.nodes)
    moved = run.responses * sequence * FIELDS * FIELD_BYTES / (assumed.driver_gb_s * GB)
    return StepTime(
        rollout=written,
        reward=max(assumed.reward_s, judged - written.seconds),
        logprobs=forward * (run.recompute_old + (run.reference or bool(run.lora_rank))),
        update=forward * passes * run.epochs,
        communication=_communication(shape, run, card, assumed, tokens, forward, passes),
        sync=_sync(shape, run, card, assumed),
        data=moved + run.responses * assumed.driver_s,
        overhead=assumed.step_overhead_s,
        tokens=tokens,
    )


def _communication(
    shape: ModelShape, run: Setting, card: Card, assumed: Assumptions, tokens: float, forward: float, passes: int
) -> float:
    """A micro-batch gathers the weights forward and backward and reduces gradients; arithmetic hides some of it."""
    per_gpu = tokens / run.gpus
    micro_batches = max(run.updates / run.epochs, -(-per_gpu // max(1, run.update_tokens)))
    size = shape.parameters * run.compute_bytes
    gathers = (2 if run.reshard else 1) * collective_seconds(size, run.shards, run, card, assumed)
    reduced = collective_seconds(trainable(shape, run) * 4, run.shards, run, card, assumed)
    # Replicas of an FSDP group (fsdp_size) sum their shards of the gradients: reduce-scatter and all-gather.
    shard = trainable(shape, run) * 4 / run.shards
    summed = 2 * collective_seconds(shard, run.gpus // run.shards, run, card, assumed, across=run.nodes > 1)
    # Latency is paid for each layer, not once.
    latency = 3 * (shape.layers - 1) * (run.shards - 1) * assumed.hop_s if run.shards > 1 else 0.0
    total = micro_batches * (gathers + reduced + summed + latency) * run.epochs
    return max(0.0, total - forward * passes * run.epochs)


def _sync(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> float:
    """verl gathers each tensor whole, as it is stored, on every GPU, copies it to a bucket and from there to vLLM."""
    size = shape.parameters * run.master_bytes
    gathered = collective_seconds(size, run.shards, run, card, assumed)
    latency = shape.layers * 12 * max(0, run.shards - 1) * assumed.hop_s
    copied = 2 * size / (card.bandwidth * assumed.decode_efficiency)
    weights = 2 * size / run.shards * run.param_offload
    states = 4 * run.master_bytes * trainable(shape, run) / run.shards * run.optimizer_offload
    # The optimizer's step on the host is bound by moving weights, gradients and states, too.
    policy = 4 * run.master_bytes * trainable(shape, run) / run.shards * run.offload_policy * run.updates
    return gathered + latency + copied + (weights + states + policy) / (card.pcie * assumed.link_efficiency)
