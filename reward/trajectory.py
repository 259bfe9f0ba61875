"""What an agent loop tells the scorer of one trajectory: who said what, how the searches went, and why it ended.

The response's text alone would not do: a passage may contain ``<answer>``, and the policy may write a false
``<information>``. Only the loop knows whose tokens are whose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

FIELD = "trajectory"
"""Its key in verl's ``AgentLoopOutput.extra_fields``."""


class End(StrEnum):
    """Why a trajectory ended."""

    STOPPED = "stopped"
    """The policy ended its turn without asking for a search."""
    OUT_OF_TURNS = "out_of_turns"
    """The turns were used up, and the last one asked for another search or was invalid."""
    TRUNCATED = "truncated"
    """The response's token limit was reached."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One trajectory of the search task, in plain values: it travels through Ray and the transfer queue."""

    turns: tuple[str, ...]
    """The policy's own text, a turn each, special tokens left out; the last one holds the answer."""
    observations: tuple[str, ...]
    """What the searches returned, in order, as the policy read it; an invalid turn's correction is not one."""
    searches: int
    failed: int
    """Of ``searches``: those that the search engine did not answer."""
    invalid: int
    """Turns that asked for nothing that could be done; the policy was told so and went on."""
    observation_tokens: int
    """Tokens that the environment wrote: they carry no gradient."""
    end: End
    fault: str = ""
    """What the last failed search met, for messages."""

    def plain(self) -> dict[str, Any]:
        """As a dict of plain values, for ``extra_fields``."""
        return asdict(self) | {"end": str(self.end)}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Trajectory:
        """The inverse of ``plain``; KeyError or ValueError for anything else."""
        return cls(
            turns=tuple(values["turns"]),
            observations=tuple(values["observations"]),
            searches=int(values["searches"]),
            failed=int(values["failed"]),
            invalid=int(values["invalid"]),
            observation_tokens=int(values["observation_tokens"]),
            end=End(values["end"]),
            fault=str(values["fault"]),
        )
