"""``tr-grpo prep knights-knaves`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tr_grpo.data_prep.cli import app, spread
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves import NAMES
from tr_grpo.data_prep.schema import read_rows


def prep(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["knights-knaves", *map(str, arguments)])


def made(*arguments: object) -> str:
    result = prep(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("people", ["--people 3 4", "--people 3 --people 4", "--people=3 --people 4"])
def test_all_ways_to_name_sizes_give_the_same_data(tmp_path: Path, people: str) -> None:
    output = made(*people.split(), "--train", 6, "--test", 3, "--seed", 7, "--out", tmp_path)
    assert "exactly one solution: proved for 18 rows" in output
    assert "proved by form, nothing shared" in output
    rows = read_rows(tmp_path / "train.parquet")
    assert [row["extra_info"]["people"] for row in rows] == [3] * 6 + [4] * 6
    assert "already done" in made(*people.split(), "--train", 6, "--test", 3, "--seed", 7, "--out", tmp_path)


def test_spread_leaves_other_values_alone() -> None:
    assert spread(["--kinds", "and", "or", "--out", "x", "y"], ("--kinds",)) == (
        ["--kinds", "and", "--kinds", "or", "--out", "x", "y"]
    )


def test_style_names_and_kinds_reach_the_puzzles(tmp_path: Path) -> None:
    made("--people", 2, "--train", 5, "--test", 2, "--kinds", "is", "and", "--names", 8, "--style", "short",
         "--phrasing", "plain", "--out", tmp_path)  # fmt: skip
    for row in read_rows(tmp_path / "train.parquet"):
        (message,) = row["prompt"]
        assert message["content"].endswith("is a knight and who is a knave?")
        assert set(row["extra_info"]["names"]) <= set(NAMES[:8])
        assert " or " not in message["content"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--people", 9), "people: 9 is outside 2 to 8"),
        (("--people", 2, "--test", 50), "there are 38 logical forms"),
        (("--names", 500), "--names 500: the list has"),
        (("a.parquet",), "a.parquet: files are only read with --from"),
        (("--from", "logic-rl", "a.parquet", "--seed", 3), "--seed makes puzzles"),
        (("--from", "elsewhere", "a.parquet"), "'elsewhere' is not one of"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, arguments: tuple, message: str) -> None:
    result = prep(*arguments, "--out", tmp_path)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
