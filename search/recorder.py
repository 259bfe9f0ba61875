"""The growing record of one trajectory: whose token is whose, and what happened in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tr_grpo.reward.trajectory import End, Trajectory


@dataclass
class Recorder:
    """The response so far; ``mask`` and, if any, ``logprobs`` have one entry for each of ``ids``."""

    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    """1 for a token that the policy sampled, 0 for one that the environment wrote."""
    logprobs: list[float] | None = None
    """Log-probabilities of the sampled tokens where the rollout reports them, 0 for the others."""
    turns: list[str] = field(default_factory=list)
    observations: list[str] = field(default_factory=list)
    searches: int = 0
    failed: int = 0
    invalid: int = 0
    fault: str = ""
    """What the last failed search met."""

    def policy(self, ids: Sequence[int], logprobs: Sequence[float] | None, text: str) -> None:
        """Append what the policy sampled in one turn; ``text`` is its decoding."""
        if logprobs is not None and len(logprobs) != len(ids):
            raise ValueError(f"{len(ids)} sampled tokens have {len(logprobs)} log-probabilities")
        if (logprobs is None) != (self.logprobs is None) and self.ids:
            raise ValueError("some turns have log-probabilities and others have none")
        if logprobs is not None:
            self.logprobs = [*(self.logprobs or []), *logprobs]
        self.ids += ids
        self.mask += [1] * len(ids)
        self.turns.append(text)

    def environment(self, ids: Sequence[int]) -> None:
        """Append what the environment wrote."""
        self.ids += ids
        self.mask += [0] * len(ids)
        if self.logprobs is not None:
            self.logprobs += [0.0] * len(ids)

    def trajectory(self, end: End) -> Trajectory:
        """What the scorer is told."""
        return Trajectory(
            turns=tuple(self.turns),
            observations=tuple(self.observations),
            searches=self.searches,
            failed=self.failed,
            invalid=self.invalid,
            observation_tokens=self.mask.count(0),
            end=end,
            fault=self.fault,
        )


def extra_fields(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """verl's fields of a trajectory from those of its turns: the first policy version and the last one."""
    fields = dict(outputs[0])
    fields["max_global_steps"] = outputs[-1].get("max_global_steps")
    # The keys that verl's own loops set.
    return fields | {"turn_scores": [], "tool_rewards": []}
