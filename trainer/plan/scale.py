"""From one node to 1,000 GPUs on paper: what a step's seconds are made of, and which part is the largest."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tr_grpo.trainer.plan.planning import Plan, make, with_nodes
from tr_grpo.trainer.plan.rollout import lengths, mean_prompt
from tr_grpo.trainer.plan.simulation import Mode, Pace, best_split, lognormal, simulate
from tr_grpo.trainer.plan.step_time import StepTime

NODES = (1, 2, 4, 8, 16, 32, 64, 125)


class Regime(StrEnum):
    """What grows with the GPUs."""

    SAME_BATCH = "same batch"
    BATCH_GROWS = "batch grows with the GPUs"
    BATCH_GROWS_IN_NODE = "batch grows, weights sharded within a node"


@dataclass(frozen=True)
class Row:
    """A number of GPUs and a step on them."""

    gpus: int
    responses: int
    time: StepTime
    fits: bool

    @property
    def rate(self) -> float:
        """Tokens a GPU and second."""
        return self.time.tokens / self.time.seconds / self.gpus

    @property
    def bottleneck(self) -> str:
        """The largest part; a rollout says whether its work or its stragglers are."""
        name, _ = max(self.time.parts().items(), key=lambda part: part[1])
        if name != "rollout":
            return name
        return "rollout: stragglers" if self.time.rollout.tail > 0.5 else "rollout"


def scale(plan: Plan, regime: Regime, nodes: Sequence[int] = NODES) -> list[Row]:
    """The run of ``plan`` on other numbers of nodes; where batches grow, ``plan`` has the batch of its own nodes."""
    rows = []
    for count in nodes:
        run = with_nodes(plan.run, count)
        if regime is not Regime.SAME_BATCH:
            growth = count / plan.run.nodes
            run = replace(
                run,
                prompts=max(1, round(run.prompts * growth)),
                mini_batch_prompts=max(1, round(run.mini_batch_prompts * growth)),
            )
        if regime is Regime.BATCH_GROWS_IN_NODE:
            run = replace(run, shards=run.gpus_per_node)
        made = make(plan.shape, run, plan.card, plan.assumed)
        rows.append(Row(run.gpus, run.responses, made.time, made.fits))
    return rows


@dataclass(frozen=True)
class Asynchrony:
    """Simulated throughputs relative to taking turns, at one spread of the lengths."""

    sigma: float
    busy: float
    """Share of the slots' time in which they wrote, taking turns."""
    one_step_off: float
    asynchronous: float
    rollout_share: float
    """Share of the GPUs for rollouts, asynchronous: the best in eighths. One step off has its own best."""
    age: float
    """Mean number of updates that a response is behind, asynchronous."""


SIGMAS = (0.0, 0.4, 0.7, 1.0, 1.3)
BATCH = 64
BATCHES = 10


@functools.lru_cache
def asynchrony(
    plan: Plan, sigmas: tuple[float, ...] = SIGMAS, batch: int = BATCH, batches: int = BATCHES, seed: int = 0
) -> list[Asynchrony]:
    """Simulate the run's own shares of rollout and update, scaled down to ``batch`` responses, all in flight at once.

    The pace is such that at the assumed spread a step's rollout and update take as long, relative to each other, as in
    the plan; lengths are cut at the run's limit.
    """
    time = plan.time
    longest = float(lengths(plan.run.responses, plan.run, plan.assumed)[-1])
    token_s = time.rollout.seconds / longest
    mean = time.tokens / plan.run.responses - mean_prompt(plan.run, plan.assumed)
    pace = Pace(batch, batch, token_s, time.update + time.logprobs + time.communication, staleness=2)
    found = []
    for sigma in sigmas:
        draw = lognormal(mean, sigma, limit=plan.run.response_limit)
        turns = simulate(Mode.SYNC, pace, draw, batches, seed)
        _, ahead = best_split(Mode.ONE_STEP_OFF, pace, draw, batches, seed)
        share, split = best_split(Mode.ASYNC, pace, draw, batches, seed)
        found.append(
            Asynchrony(
                sigma,
                turns.busy,
                ahead.throughput / turns.throughput,
                split.throughput / turns.throughput,
                share,
                split.age,
            )
        )
    return found
