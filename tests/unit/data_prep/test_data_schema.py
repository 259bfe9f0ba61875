"""The check of a data file that preparation and the trainer's preflight share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.schema import REQUIRED_COLUMNS, arrow_schema, read_rows, validate_parquet, write_rows


def row(**changes: Any) -> dict[str, Any]:
    return {
        "data_source": "knights_knaves",
        "prompt": [{"role": "user", "content": "Who?"}],
        "ability": "logic",
        "reward_model": {"style": "rule", "ground_truth": "(1) Mia is a knight"},
        "extra_info": {"index": 0, "split": "test"},
    } | changes


def test_a_written_file_is_valid_and_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    write_rows(file, [row(), row()], arrow_schema())
    assert validate_parquet(file) == 2
    assert read_rows(file) == [row(), row()]


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / name, [row()], arrow_schema())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_ground_truth_may_be_a_struct_and_further_columns_stay(tmp_path: Path) -> None:
    schema = arrow_schema(
        ground_truth=pa.struct([("target", pa.list_(pa.string()))]), columns=[("agent_name", pa.string())]
    )
    file = tmp_path / "test.parquet"
    written = row(reward_model={"style": "rule", "ground_truth": {"target": ["x", "y"]}}, agent_name="search_r1")
    write_rows(file, [written], schema)
    assert validate_parquet(file) == 1
    assert read_rows(file) == [written]
    write_rows(file, [row(reward_model={"style": "rule", "ground_truth": {"target": []}})], schema)
    with pytest.raises(InputError, match="row 0 has no reward_model"):
        validate_parquet(file)


@pytest.mark.parametrize("column", REQUIRED_COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist([row()]).drop_columns([column]), file)
    with pytest.raises(InputError, match=f"x.parquet: no column {column}; "):
        validate_parquet(file)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"reward_model": {"style": "rule", "ground_truth": None}}, "row 1 has no reward_model.ground_truth"),
        ({"reward_model": {"style": "rule", "ground_truth": ""}}, "row 1 has no reward_model.ground_truth"),
        ({"reward_model": None}, "row 1 has no reward_model.ground_truth"),
        ({"prompt": []}, "row 1: prompt is not"),
        ({"prompt": [{"role": "user", "content": ""}]}, "row 1: prompt is not"),
        ({"prompt": None}, "row 1: prompt is not"),
    ],
)
def test_a_bad_row_is_named_by_its_number(tmp_path: Path, bad: dict, message: str) -> None:
    file = tmp_path / "x.parquet"
    write_rows(file, [row(), row(**bad)], arrow_schema())
    with pytest.raises(InputError, match=message):
        validate_parquet(file)


def test_a_prompt_that_is_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist([row(prompt="Who?")]), file)
    with pytest.raises(InputError, match="row 0: prompt is not"):
        validate_parquet(file)


def test_a_missing_an_empty_and_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        validate_parquet(tmp_path / "none.parquet")
    write_rows(tmp_path / "empty.parquet", [], arrow_schema())
    with pytest.raises(InputError, match="no rows"):
        validate_parquet(tmp_path / "empty.parquet")
    (tmp_path / "text.parquet").write_text("not parquet at all")
    with pytest.raises(InputError, match="not a readable parquet file"):
        validate_parquet(tmp_path / "text.parquet")
