"""Rows as FlashRAG, nq_open and Search-R1 publish them, and files of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tr_grpo.data_prep.search_qa import SOURCES, SearchQAConfig, build_dataset
from tr_grpo.data_prep.storage import Manifest


def flashrag(number: int, question: str = "", answers: Sequence[str] = ()) -> dict[str, Any]:
    """A row of FlashRAG's jsonl files."""
    return {
        "id": f"test_{number}",
        "question": question or f"who wrote book {number}",
        "golden_answers": list(answers) or [f"Author {number}"],
        "metadata": {"type": "bridge"},
    }


def search_r1(number: int, data_source: str = "nq") -> dict[str, Any]:
    """A row of PeterJinGo/nq_hotpotqa_train, as verl's preprocess_search_r1_dataset.py reads it."""
    row = flashrag(number)
    return row | {
        "question": f"{row['question']}?",
        "data_source": data_source,
        "prompt": [{"role": "user", "content": f"Answer the given question. Question: {row['question']}?\n"}],
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": row["golden_answers"]}},
        "extra_info": {"index": number, "split": "train"},
        "metadata": None,
    }


def jsonl(path: Path, rows: Sequence[Any]) -> Path:
    """A line a row; text is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The same as parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def built(out: Path, source: str, *inputs: Path, **options: Any) -> Manifest:
    """A finished data set's manifest."""
    return build_dataset(SearchQAConfig(out, SOURCES[source], tuple(map(str, inputs)), **options))
