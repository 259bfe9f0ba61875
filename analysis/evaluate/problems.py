"""The problems of an evaluation: rows of verl's parquet schema, each with a name that stays the same for ever."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.schema import Row, read_rows, validate_parquet

PARTS = ("people", "hops", "terms", "level")
"""Fields of ``extra_info`` by which a set's problems are told apart in the table; the first that a row has."""


@dataclass(frozen=True)
class Problem:
    """One row of a data file."""

    id: str
    """32 hex digits of the sha256 of data source, prompt and ground truth; of twins, of their number too."""
    data_source: str
    part: str
    """Such as ``people 3`` or ``level 5``; empty where the row has none of ``PARTS``."""
    agent: str | None
    """verl's agent loop, where the row names one."""
    row: Row

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt."""
        messages: list[dict[str, str]] = self.row["prompt"]
        return messages

    @property
    def ground_truth(self) -> Any:
        """What the scorer parses."""
        return self.row["reward_model"]["ground_truth"]


def read_problems(files: Sequence[Path], limit: int | None = None) -> list[Problem]:
    """The problems of all files, in order.

    limit: at most so many of each data source: those with the least names, which is a choice by chance that does not
        depend on the file's order.
    InputError: a file or row that verl or the reward could not use; a file that is named twice.
    """
    problems: list[Problem] = []
    seen: Counter[str] = Counter()
    for number, file in enumerate(files):
        if file.resolve() in [earlier.resolve() for earlier in files[:number]]:
            raise InputError(f"{file}: named twice; name each file once")
        validate_parquet(file)
        problems += _problems(read_rows(file), seen)
    return problems if limit is None else _limited(problems, limit)


def _problems(rows: Sequence[Row], seen: Counter[str]) -> Iterator[Problem]:
    for row in rows:
        source = str(row["data_source"])
        text = json.dumps([source, row["prompt"], row["reward_model"]["ground_truth"]], sort_keys=True, default=str)
        seen[text] += 1
        twin = f"{text} {seen[text]}" if seen[text] > 1 else text
        name = hashlib.sha256(twin.encode()).hexdigest()[:32]
        yield Problem(name, source, _part(row.get("extra_info") or {}), row.get("agent_name"), row)


def _part(extra: dict[str, Any]) -> str:
    for field in PARTS:
        if extra.get(field) not in (None, ""):
            # MATH says "Level 3".
            return f"{field} {str(extra[field]).removeprefix('Level ')}"
    return ""


def _limited(problems: Sequence[Problem], limit: int) -> list[Problem]:
    by_source: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        by_source[problem.data_source].append(problem.id)
    kept = {name for names in by_source.values() for name in sorted(names)[:limit]}
    return [problem for problem in problems if problem.id in kept]
