"""Seconds that vLLM takes for a batch: response lengths with a long tail, decoded in slots at the roofline's pace."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import lognorm

from tr_grpo.trainer.plan.assumptions import Assumptions
from tr_grpo.trainer.plan.devices import Card
from tr_grpo.trainer.plan.memory import KVCache, kv_bytes_per_token
from tr_grpo.trainer.plan.setting import Setting
from tr_grpo.trainer.plan.shapes import ModelShape


@dataclass(frozen=True)
class Rollout:
    """One engine's part of a step, in seconds, and why."""

    prefill: float
    decode: float
    ideal: float
    """Decoding, if all engines had the same tokens to write and their slots stayed full until the last."""
    slots: int
    """Responses in flight at most."""
    limited_by: str
    """What keeps ``slots`` from being more."""
    bound: str
    """What a decoding step waits for with all slots full: memory, arithmetic or its own overhead."""

    @property
    def seconds(self) -> float:
        """Prefill and decoding."""
        return self.prefill + self.decode

    @property
    def tail(self) -> float:
        """Share of the decoding that stragglers cost."""
        return 1 - self.ideal / self.decode if self.decode else 0.0


def mean_prompt(run: Setting, assumed: Assumptions) -> float:
    """Tokens; assumed."""
    return max(1.0, assumed.mean_prompt * run.prompt_limit)


def lengths(count: int, run: Setting, assumed: Assumptions) -> np.ndarray:
    """``count`` response lengths in tokens: the mid-quantiles of a log-normal cut at the limit.

    The scale is such that the mean *before* the cut is the assumed one.
    """
    sigma = assumed.length_sigma
    median = assumed.mean_response * run.response_limit * np.exp(-(sigma**2) / 2)
    quantiles = (np.arange(count) + 0.5) / count
    return np.clip(lognorm.ppf(quantiles, sigma, scale=median), 1, run.response_limit)


def makespan(tokens: Sequence[float], slots: int, step_seconds: Callable[[int], float]) -> float:
    """Seconds until all sequences are written, ``slots`` at a time, the next one starting where one ends.

    A step writes one token of every sequence in flight and takes ``step_seconds(in flight)``.
    """
    waiting = list(tokens)[::-1]
    ends: list[float] = []  # in steps
    step = seconds = 0.0
    while waiting or ends:
        while waiting and len(ends) < slots:
            heapq.heappush(ends, step + waiting.pop())
        active = len(ends)
        end = heapq.heappop(ends)
        seconds += (end - step) * step_seconds(active)
        step = end
    return seconds


def rollout(shape: ModelShape, run: Setting, card: Card, cache: KVCache, assumed: Assumptions) -> Rollout:
    """The engine that waits longest: it has its share of the responses, the batch's longest among them."""
    share = max(1, -(-run.responses // run.engines))
    tokens = lengths(share, run, assumed)
    # Order as a server sees it: lengths are unknown beforehand, the longest may come last but one.
    tokens = np.random.default_rng(0).permutation(tokens)
    tokens[0] = lengths(run.responses, run, assumed)[-1]
    context = mean_prompt(run, assumed) + float(tokens.mean()) / 2
    in_cache = int(cache.tokens / (mean_prompt(run, assumed) + float(tokens.mean())))
    limits = {"rollout.max_num_seqs": run.max_num_seqs, "KV cache": max(1, in_cache), "batch": share}
    limited_by, slots = min(limits.items(), key=lambda limit: limit[1])

    def parts(active: int) -> dict[str, float]:
        group = run.tensor_parallel
        read = shape.matmul_parameters * run.rollout_bytes / group
        read += active * context * kv_bytes_per_token(shape, run)
        flops = active * 2 * shape.matmul_parameters / group
        flops += active * 4 * shape.layers * shape.q_width * context / group
        return {
            "memory bandwidth": read / (card.bandwidth * assumed.decode_efficiency),
            "arithmetic": flops / (card.flops * assumed.decode_efficiency),
        }

    def step_seconds(active: int) -> float:
        # Two all-reduces a layer among the GPUs of the engine, of latency alone at these sizes.
        exchange = 2 * shape.layers * assumed.hop_s * (run.tensor_parallel - 1)
        return max(parts(active).values()) + assumed.decode_overhead_s + exchange

    full = parts(slots)
    prompts = share * mean_prompt(run, assumed)
    return Rollout(
        prefill=2 * shape.matmul_parameters * prompts / (run.tensor_parallel * card.flops * assumed.prefill_mfu),
        decode=makespan(tokens.tolist(), slots, step_seconds),
        ideal=share * float(lengths(run.responses, run, assumed).mean()) / slots * step_seconds(slots),
        slots=slots,
        limited_by=limited_by,
        bound=max(full, key=lambda name: full[name])
        if max(full.values()) > assumed.decode_overhead_s
        else "overhead of a step",
    )
