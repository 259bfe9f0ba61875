"""A puzzle as a row of verl's parquet schema, and back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tr_grpo.data_prep.knights_knaves.canonical import logical_form
from tr_grpo.data_prep.knights_knaves.logic import Puzzle, parse_claims
from tr_grpo.data_prep.knights_knaves.wording import render_solution
from tr_grpo.data_prep.schema import Row, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

DATA_SOURCE = "knights_knaves"


def schema() -> pa.Schema:
    """verl's schema with this task's ``extra_info``: the same columns for generated and imported rows."""
    import pyarrow as pa

    return arrow_schema(
        [
            ("people", pa.int64()),
            ("names", pa.list_(pa.string())),
            ("solution", pa.list_(pa.bool_())),
            ("statements", pa.string()),
            ("seed", pa.int64()),  # null in imported rows
            ("form", pa.string()),
        ]
    )


def to_row(puzzle: Puzzle, prompt: list[dict[str, str]], split: str, index: int, seed: int | None) -> Row:
    """One row; the ground truth is the plain text of the solution, ``extra_info`` holds what made it."""
    return {
        "data_source": DATA_SOURCE,
        "prompt": prompt,
        "ability": "logic",
        "reward_model": {"style": "rule", "ground_truth": render_solution(puzzle)},
        "extra_info": {
            "index": index,
            "split": split,
            "people": puzzle.people,
            "names": list(puzzle.names),
            "solution": list(puzzle.solution),
            "statements": repr(puzzle.claims),
            "seed": seed,
            "form": form_id(logical_form(puzzle)),
        },
    }


def to_puzzle(row: Row) -> Puzzle:
    """The puzzle of a row that ``to_row`` made."""
    extra = row["extra_info"]
    return Puzzle(tuple(extra["names"]), parse_claims(extra["statements"]), tuple(extra["solution"]))


def form_id(form: str) -> str:
    """16 hex digits that name a logical form in a data file."""
    return hashlib.sha256(form.encode()).hexdigest()[:16]
