"""A plan: a run's memory and time on a card, and what of it does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tr_grpo.trainer.plan.assumptions import Assumptions
from tr_grpo.trainer.plan.devices import CARDS, Card
from tr_grpo.trainer.plan.memory import Memory, memory
from tr_grpo.trainer.plan.setting import Setting
from tr_grpo.trainer.plan.shapes import ModelShape
from tr_grpo.trainer.plan.step_time import StepTime, step_time

CACHE = "KV cache"


@dataclass(frozen=True)
class Problem:
    """What does not fit: a phase's name or :data:`CACHE`, by how many bytes, and one sentence."""

    where: str
    excess: float
    text: str


@dataclass(frozen=True)
class Plan:
    """Estimates for one run on one kind of card."""

    shape: ModelShape
    run: Setting
    card: Card
    assumed: Assumptions
    memory: Memory

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Phases that need more than the card has, and a cache too small for one sequence, which vLLM refuses."""
        found = [
            Problem(
                phase.name,
                phase.bytes - self.card.memory,
                f"{phase.name} needs {phase.bytes / 1e9:.1f} GB, the card has {self.card.memory / 1e9:.0f}; "
                f"most of it: {phase.largest.name}",
            )
            for phase in self.memory.phases
            if phase.bytes > self.card.memory
        ]
        cache, longest = self.memory.cache, self.run.max_model_len
        if cache.tokens < longest:
            share = f"gpu_memory_utilization={self.run.gpu_memory_utilization:g}"
            if cache.bytes < 0:
                text = f"{share} is {-cache.bytes / 1e9:.1f} GB less than vLLM's weights and workspace"
            else:
                text = f"{share} leaves a KV cache of {cache.tokens:,.0f} tokens, less than one sequence ({longest:,})"
            found.append(Problem(CACHE, 1.0 - cache.bytes if cache.bytes < 0 else longest - cache.tokens, text))
        return tuple(found)

    @property
    def fits(self) -> bool:
        """Every phase fits on the card, and vLLM can hold a sequence."""
        return not self.problems

    @property
    def time(self) -> StepTime:
        """Seconds of a step; defined where vLLM's cache can hold a sequence."""
        return step_time(self.shape, self.run, self.card, self.memory.cache, self.assumed)

    @property
    def gpu_hours(self) -> float:
        """GPU hours of a step."""
        return self.time.seconds * self.run.gpus / 3600


def make(shape: ModelShape, run: Setting, card: Card, assumed: Assumptions) -> Plan:
    """The plan of ``run``."""
    return Plan(shape, run, card, assumed, memory(shape, run, card, assumed))


def with_nodes(run: Setting, nodes: int) -> Setting:
    """The same run on another number of nodes; weights spread over all GPUs where they did before."""
    shards = nodes * run.gpus_per_node if run.shards == run.gpus else run.shards
    return replace(run, nodes=nodes, shards=shards)


def on_every_card(plan: Plan) -> Mapping[str, Plan]:
    """The same run on each card of the table."""
    return {name: make(plan.shape, plan.run, card, plan.assumed) for name, card in CARDS.items()}
