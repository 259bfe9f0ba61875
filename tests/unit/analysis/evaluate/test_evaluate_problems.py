"""Problems keep their names whatever file, order or limit they come from."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tr_grpo.analysis.evaluate.problems import read_problems
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.schema import arrow_schema, write_rows


def row(text: str, source: str = "math/math500", **extra: Any) -> dict[str, Any]:
    return {
        "data_source": source,
        "prompt": [{"role": "user", "content": text}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "1"},
        "extra_info": {"index": 0, "split": "test", "people": None, "level": None} | extra,
    }


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    write_rows(path, rows, arrow_schema([("people", pa.int64()), ("level", pa.string())]))
    return path


def test_a_name_depends_on_source_prompt_and_answer_alone(tmp_path: Path) -> None:
    one = written(tmp_path / "one.parquet", [row("x"), row("y"), row("x", "math/amc23")])
    other = written(tmp_path / "other.parquet", [row("x", "math/amc23", level="5"), row("y", index=9), row("x")])
    names = [problem.id for problem in read_problems([one])]
    assert len(set(names)) == 3
    assert sorted(names) == sorted(problem.id for problem in read_problems([other]))


def test_twins_have_names_of_their_own(tmp_path: Path) -> None:
    file = written(tmp_path / "twins.parquet", [row("x"), row("x"), row("x")])
    assert len({problem.id for problem in read_problems([file])}) == 3


def test_parts_are_people_or_levels(tmp_path: Path) -> None:
    file = written(
        tmp_path / "f.parquet", [row("a", people=4), row("b", level="Level 5"), row("c", level="2"), row("d")]
    )
    assert [problem.part for problem in read_problems([file])] == ["people 4", "level 5", "level 2", ""]


def test_a_limit_takes_the_same_problems_of_each_set_in_any_order(tmp_path: Path) -> None:
    rows = [row(str(i)) for i in range(20)] + [row(str(i), "math/amc23") for i in range(2)]
    forwards = read_problems([written(tmp_path / "f.parquet", rows)], 5)
    backwards = read_problems([written(tmp_path / "b.parquet", rows[::-1])], 5)
    assert {problem.id for problem in forwards} == {problem.id for problem in backwards}
    assert [problem.data_source for problem in forwards] == ["math/math500"] * 5 + ["math/amc23"] * 2
    more = {problem.id for problem in read_problems([tmp_path / "f.parquet"], 6)}
    assert {problem.id for problem in forwards} < more


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "f.parquet", [row("x")])
    with pytest.raises(InputError, match="named twice"):
        read_problems([file, tmp_path / "." / "f.parquet"])


def test_a_row_without_a_solution_is_named(tmp_path: Path) -> None:
    bad = row("x") | {"reward_model": {"style": "rule", "ground_truth": ""}}
    with pytest.raises(InputError, match=r"row 1 has no reward_model\.ground_truth"):
        read_problems([written(tmp_path / "f.parquet", [row("x"), bad])])
