"""``tr-grpo prep search-qa`` as it is typed."""

from __future__ import annotations

from pathlib import Path

from qa_layouts import flashrag, jsonl
from typer.testing import CliRunner, Result

from tr_grpo.data_prep.cli import app
from tr_grpo.data_prep.errors import InputError


def prep(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["search-qa", *map(str, arguments)])


def test_the_report_says_what_was_left_out_and_what_was_proved(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "1.jsonl", [flashrag(0), flashrag(1)])
    two = jsonl(tmp_path / "2.jsonl", [flashrag(1), flashrag(2, answers=["x", ""])])
    test = prep("--source", "jsonl", "--split", "test", "--from", one, "--limit", 1, "--out", tmp_path / "d" / "test")
    assert test.exit_code == 0, test.output
    result = prep("--source", "jsonl", "--from", one, two, "--template", "tool", "--out", tmp_path / "d" / "mine")
    assert result.exit_code == 0, result.output
    assert "train.parquet: 2 rows, sha256" in result.output
    assert (
        "train: 4 rows read, 2 kept; 1 duplicate (dropped.jsonl), 1 in a test set (dropped.jsonl), "
        "1 blank answers left out"
    ) in result.output
    assert "train kept apart by question from test/test.parquet: proved" in result.output
    assert "warning" not in result.output


def test_a_count_that_is_not_the_published_one_and_no_test_set_are_said_loudly(tmp_path: Path) -> None:
    jsonl(tmp_path / "nq" / "train.jsonl", [flashrag(0)])
    result = prep("--source", "nq", "--split", "train", "--from", tmp_path / "nq", "--out", tmp_path / "out" / "nq")
    assert result.exit_code == 0, result.output
    assert "warning: train: the published data set has 79168 rows, 1 were read" in result.stderr
    assert "warning: training questions were compared with no test set" in result.stderr


def test_an_unknown_source_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    result = prep("--source", "nqq", "--out", tmp_path)
    assert isinstance(result.exception, InputError)
    assert "has to be one of nq, triviaqa, popqa" in str(result.exception)


def test_none_stands_alone(tmp_path: Path) -> None:
    result = prep("--source", "jsonl", "--apart-from", "none", "x", "--out", tmp_path)
    assert "--apart-from none: leave the other files out" in str(result.exception)
