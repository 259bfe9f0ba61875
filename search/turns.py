"""What a turn of the policy asks for, in Search-R1's tags."""

from __future__ import annotations

import re
from dataclasses import dataclass

STOPS = ("</search>", "</answer>")
"""Generation ends after either: what would follow a search is the environment's to write."""

_ACTION = re.compile(r"<(search|answer)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Search:
    """The policy asks for a search."""

    query: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The policy gives its answer; what it is, only the scorer reads."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """Neither, or a search for nothing."""


def read_turn(text: str) -> Search | Answer | Invalid:
    """The first complete ``<search>`` or ``<answer>`` of a turn (Search-R1's ``postprocess_predictions``)."""
    match = _ACTION.search(text)
    if match is None:
        return Invalid()
    if match[1] == "answer":
        return Answer()
    query = match[2].strip()
    return Search(query) if query else Invalid()
