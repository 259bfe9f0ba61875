"""A discrete-event simulation of a step's rollouts and updates: in turns, one step apart, or unbound, with long tails.

Responses of random length occupy slots of vLLM; an update needs a batch of finished ones. With ``SYNC`` the two take
turns on all GPUs. ``ONE_STEP_OFF`` writes the next batch during the update of the last one. ``ASYNC`` refills each slot
at once, also while weights change, and lets responses be some batches old (AReaL, arXiv 2505.24298; StreamRL,
2504.15930). A token takes the same time however many are in flight, as decoding does while it waits for the weights.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from tr_grpo.data_prep.errors import InputError

Lengths = Callable[[np.random.Generator, int], np.ndarray]
"""Draws that many response lengths in tokens."""


class Mode(StrEnum):
    """How rollout and update share the time."""

    SYNC = "sync"
    ONE_STEP_OFF = "one step off"
    ASYNC = "async"


@dataclass(frozen=True)
class Pace:
    """A trainer on paper."""

    batch: int
    """Responses of an update."""
    slots: int
    """Responses in flight."""
    token_s: float
    update_s: float
    staleness: int = 1
    """Batches that a response may be older than the weights that learn from it (``ASYNC``)."""


@dataclass(frozen=True)
class Outcome:
    """What a simulation saw."""

    seconds: float
    responses: int
    busy: float
    """Share of the slots' time in which they wrote."""
    age: float
    """Mean number of updates between the start of a response and its own update."""

    @property
    def throughput(self) -> float:
        """Responses a second."""
        return self.responses / self.seconds


def lognormal(mean: float, sigma: float, limit: float = np.inf) -> Lengths:
    """Long-tailed lengths: log-normal with that mean, cut at ``limit``."""
    return lambda generator, count: np.minimum(generator.lognormal(np.log(mean) - sigma**2 / 2, sigma, count), limit)


def simulate(mode: Mode, pace: Pace, draw: Lengths, batches: int, seed: int = 0) -> Outcome:
    """Train for ``batches`` updates.

    Raises:
        InputError: simpy is not installed.
    """
    try:
        import simpy
    except ImportError as problem:
        raise InputError("simpy is not installed: run scripts/setup.sh, or pip install simpy") from problem
    world = _World(simpy, mode, pace, draw, batches, np.random.default_rng(seed))
    world.environment.run(until=world.environment.process(world.train()))
    seconds = float(world.environment.now)
    responses = batches * pace.batch
    return Outcome(seconds, responses, world.written * pace.token_s / (seconds * pace.slots), world.age / responses)


class _World:
    """Slots, finished responses and the weights' version."""

    def __init__(
        self, simpy: Any, mode: Mode, pace: Pace, draw: Lengths, batches: int, generator: np.random.Generator
    ) -> None:
        self.environment = simpy.Environment()
        self.slots = simpy.Resource(self.environment, capacity=pace.slots)
        self.finished = simpy.Store(self.environment)
        self.mode, self.pace, self.batches = mode, pace, batches
        self.tokens: Sequence[float] = draw(generator, (batches + pace.staleness + 1) * pace.batch).tolist()
        self.started = self.version = 0
        self.written = self.age = 0.0

    def start(self, count: int) -> None:
        """Queue the next ``count`` responses."""
        for tokens in self.tokens[self.started : self.started + count]:
            self.environment.process(self.write(tokens))
        self.started += count

    def write(self, tokens: float) -> Iterator[Any]:
        """One response, from a free slot on."""
        with self.slots.request() as slot:
            yield slot
            version, begin = self.version, self.environment.now
            yield self.environment.timeout(tokens * self.pace.token_s)
            self.written += (self.environment.now - begin) / self.pace.token_s
        yield self.finished.put(version)

    def train(self) -> Generator[Any, Any, None]:
        """Wait for a batch, update, and allow what the mode allows."""
        ahead = {Mode.SYNC: 0, Mode.ONE_STEP_OFF: 1, Mode.ASYNC: self.pace.staleness}[self.mode]
        if self.mode is Mode.ASYNC:
            self.start(ahead * self.pace.batch)
        for number in range(self.batches):
            if self.mode is not Mode.ONE_STEP_OFF or number == 0:
                self.start(self.pace.batch)
            versions = yield from self.collect()
            if self.mode is Mode.ONE_STEP_OFF and number + 1 < self.batches:
                self.start(self.pace.batch)
            yield self.environment.timeout(self.pace.update_s)
            self.age += sum(self.version - version for version in versions)
            self.version += 1

    def collect(self) -> Generator[Any, Any, list[int]]:
        """A batch of finished responses, as their versions."""
        versions: list[int] = []
        for _ in range(self.pace.batch):
            versions.append((yield self.finished.get()))
        return versions


def best_split(mode: Mode, pace: Pace, draw: Lengths, batches: int, seed: int = 0) -> tuple[float, Outcome]:
    """The share of the GPUs for rollouts, in eighths, with which ``mode`` is fastest, and how fast; the rest update.

    Fewer GPUs have as many fewer slots, and an update takes as much longer.
    """
    outcomes = {}
    for eighths in range(1, 8):
        share = eighths / 8
        slots = max(1, round(pace.slots * share))
        split = Pace(pace.batch, slots, pace.token_s, pace.update_s / (1 - share), pace.staleness)
        outcomes[share] = simulate(mode, split, draw, batches, seed)
    return max(outcomes.items(), key=lambda pair: pair[1].throughput)
