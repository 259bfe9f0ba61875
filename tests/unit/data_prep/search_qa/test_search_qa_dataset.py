"""What is left out, what is kept apart, and what the manifest says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qa_layouts import built, flashrag, jsonl, parquet, search_r1

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.schema import read_rows
from tr_grpo.data_prep.search_qa.apart import prove_apart


def questions(path: Path) -> list[str]:
    return [row["extra_info"]["question"] for row in read_rows(path)]


def dropped(folder: Path) -> list[dict[str, Any]]:
    path = folder / "dropped.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_repeated_training_question_is_kept_once(tmp_path: Path) -> None:
    rows = [
        flashrag(0, "Who wrote Emma?", ["Jane Austen"]),
        flashrag(1, "who wrote  the Emma", ["J. Austen", "jane austen"]),
        flashrag(2, "Who wrote Emma's sequel?", ["nobody"]),
    ]
    manifest = built(tmp_path / "out", "jsonl", jsonl(tmp_path / "a.jsonl", rows))
    assert questions(tmp_path / "out" / "train.parquet") == ["Who wrote Emma?", "Who wrote Emma's sequel?"]
    assert manifest["counts"]["train"]["duplicate"] == 1
    (entry,) = dropped(tmp_path / "out")
    assert entry == {
        "split": "train",
        "reason": "duplicate",
        "file": "a.jsonl",
        "line": 2,
        "question": "who wrote  the Emma",
        "answers": ["J. Austen", "jane austen"],
    }


def test_of_answers_that_contradict_each_other_none_is_kept(tmp_path: Path) -> None:
    rows = [flashrag(0, "who won", ["A. Smith"]), flashrag(1), flashrag(2, "Who won?", ["B. Jones"])]
    manifest = built(tmp_path / "out", "jsonl", jsonl(tmp_path / "a.jsonl", rows))
    assert questions(tmp_path / "out" / "train.parquet") == ["who wrote book 1"]
    assert manifest["counts"]["train"]["contradiction"] == 2
    assert [row["index"] for row in (r["extra_info"] for r in read_rows(tmp_path / "out" / "train.parquet"))] == [0]


def test_a_test_set_stays_as_published_and_its_repeats_are_listed(tmp_path: Path) -> None:
    rows = [
        flashrag(0, "who won", ["x"]),
        flashrag(1, "Who won?", ["x"]),
        flashrag(2, "who lost"),
        flashrag(3, "who lost"),
    ]
    file = jsonl(tmp_path / "a.jsonl", rows)
    counts = built(tmp_path / "out", "jsonl", file, split="test")["counts"]["test"]
    assert (counts["kept"], counts["kept_duplicate"], counts["kept_contradiction"]) == (4, 1, 2)
    counts = built(tmp_path / "kept", "jsonl", file, duplicates="keep", apart_from=())["counts"]["train"]
    assert (counts["kept"], counts["kept_duplicate"], counts["kept_contradiction"]) == (4, 1, 2)


def test_training_questions_of_the_sets_own_test_split_are_left_out(tmp_path: Path) -> None:
    jsonl(tmp_path / "nq" / "train.jsonl", [flashrag(0, "Who wrote the book 3?"), flashrag(1), flashrag(2)])
    jsonl(tmp_path / "nq" / "test.jsonl", [flashrag(3)])
    manifest = built(tmp_path / "out", "nq", tmp_path / "nq")
    assert questions(tmp_path / "out" / "train.parquet") == ["who wrote book 1", "who wrote book 2"]
    assert manifest["separation"] == {
        "sets": [],
        "rule": "equal questions in SQuAD's normal form",
        "shared": 0,
        "proved": True,
    }
    assert dropped(tmp_path / "out")[0]["evaluation"] == "test.parquet of this folder"


def test_training_questions_are_kept_apart_from_test_sets_beside_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    built(data / "popqa", "popqa", jsonl(tmp_path / "test.jsonl", [flashrag(1)]))
    manifest = built(data / "mine", "jsonl", jsonl(tmp_path / "mine.jsonl", [flashrag(0), flashrag(1)]))
    assert questions(data / "mine" / "train.parquet") == ["who wrote book 0"]
    assert [entry["file"] for entry in manifest["separation"]["sets"]] == ["popqa/test.parquet"]
    manifest = built(data / "all", "jsonl", tmp_path / "mine.jsonl", apart_from=())
    assert manifest["counts"]["train"]["kept"] == 2
    assert manifest["separation"]["sets"] == []


def test_a_test_file_of_search_r1_or_verl_may_be_named(tmp_path: Path) -> None:
    test = parquet(tmp_path / "theirs.parquet", [search_r1(1)])
    bare = parquet(
        tmp_path / "bare.parquet",
        [{key: value for key, value in search_r1(2).items() if key not in ("question", "extra_info")}],
    )
    file = jsonl(tmp_path / "mine.jsonl", [flashrag(n) for n in range(4)])
    manifest = built(tmp_path / "out", "jsonl", file, apart_from=(test, bare))
    assert questions(tmp_path / "out" / "train.parquet") == ["who wrote book 0", "who wrote book 3"]
    assert len(manifest["separation"]["sets"]) == 2


def test_a_test_set_that_was_changed_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    built(data / "popqa", "popqa", jsonl(tmp_path / "test.jsonl", [flashrag(1)]))
    with (data / "popqa" / "test.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="missing or changed after it was made"):
        built(data / "mine", "jsonl", jsonl(tmp_path / "mine.jsonl", [flashrag(0)]))


def test_the_proof_reads_the_written_files_and_sees_what_is_shared(tmp_path: Path) -> None:
    train = parquet(tmp_path / "train.parquet", [search_r1(0), search_r1(1)])
    test = parquet(tmp_path / "test.parquet", [search_r1(1), search_r1(2)])
    assert prove_apart(train, [test])["shared"] == 1
    assert not prove_apart(train, [test])["proved"]
    assert prove_apart(train, [])["proved"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("{", "not JSON"),
        ("[1]", "of type list, not an object with columns"),
        ({"golden_answers": ["x"]}, "no column question; there are golden_answers"),
        ({"question": "q"}, "no column golden_answers or answer or reward_model; there are question"),
        (flashrag(0) | {"question": " "}, "question is empty"),
        (flashrag(0) | {"question": None}, "question is of type NoneType, not text"),
        (flashrag(0) | {"golden_answers": []}, "golden_answers holds no answer"),
        (flashrag(0) | {"golden_answers": ["", " "]}, "golden_answers holds no answer"),
        (flashrag(0) | {"golden_answers": None}, "golden_answers is of type NoneType, not text"),
        (flashrag(0) | {"golden_answers": [True]}, "golden_answers is of type bool, not text"),
        (flashrag(0) | {"golden_answers": ["a\0"]}, "golden_answers holds a NUL character"),
        (
            flashrag(0) | {"golden_answers": ["</answer>"]},
            "golden_answers: the scorer tr_grpo.reward.search_qa refuses it",
        ),
    ],
)
def test_a_bad_row_stops_with_its_line_or_is_listed(row: Any, fault: str, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [flashrag(5), row])
    with pytest.raises(InputError, match=f"a.jsonl: line 2: {fault}.*; correct the row, or pass --on-bad-row skip"):
        built(tmp_path / "out", "jsonl", file)
    assert not (tmp_path / "out" / "train.parquet").exists()
    manifest = built(tmp_path / "out", "jsonl", file, on_bad_row="skip")
    assert (manifest["counts"]["train"]["bad"], manifest["counts"]["train"]["kept"]) == (1, 1)
    listed = json.loads((tmp_path / "out" / "bad_rows.jsonl").read_text())
    assert (listed["line"], listed["fault"].startswith(fault)) == (2, True)


def test_blank_answers_are_left_out_and_counted(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [flashrag(0, answers=["x", "", " "])])
    assert built(tmp_path / "out", "jsonl", file)["counts"]["train"]["blank_answers"] == 2


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "the file is empty|no rows for train"),
        ([{"question": ""}], r"no row is left for train \(1 read, 1 bad\)"),
        (
            [flashrag(0, "who", ["x"]), flashrag(1, "who", ["y"])],
            r"no row is left for train \(2 read, 2 contradiction\)",
        ),
    ],
)
def test_a_split_of_which_nothing_is_left_is_refused(rows: list[Any], fault: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=fault):
        built(tmp_path / "out", "jsonl", jsonl(tmp_path / "a.jsonl", rows), on_bad_row="skip")


def test_the_limit_is_of_rows_that_are_kept(tmp_path: Path) -> None:
    rows = [flashrag(0), flashrag(0), *map(flashrag, range(1, 9))]
    file = jsonl(tmp_path / "a.jsonl", rows)
    built(tmp_path / "out", "jsonl", file, limit=3)
    assert questions(tmp_path / "out" / "train.parquet") == [f"who wrote book {n}" for n in range(3)]
    assert built(tmp_path / "test", "jsonl", file, limit=3, split="test")["counts"]["test"]["read"] == 3


def test_the_same_input_gives_the_same_bytes_and_is_not_made_again(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", map(flashrag, range(5)))
    first = built(tmp_path / "one", "jsonl", file)
    moved = jsonl(tmp_path / "elsewhere" / "a.jsonl", map(flashrag, range(5)))
    assert built(tmp_path / "two", "jsonl", moved, apart_from=())["files"] == first["files"]
    before = (tmp_path / "one" / "train.parquet").stat().st_mtime_ns
    assert built(tmp_path / "one", "jsonl", moved) == first
    assert (tmp_path / "one" / "train.parquet").stat().st_mtime_ns == before


def test_a_folder_of_other_settings_is_not_overwritten_unasked(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [flashrag(0)])
    built(tmp_path / "out", "jsonl", file)
    with pytest.raises(InputError, match="holds data of other settings"):
        built(tmp_path / "out", "jsonl", file, template="tool")
    built(tmp_path / "out", "jsonl", file, template="tool", overwrite=True)
    assert read_rows(tmp_path / "out" / "train.parquet")[0]["agent_name"] == "search_tool"


@pytest.mark.parametrize(
    "option",
    [{"template": "x"}, {"on_bad_row": "x"}, {"duplicates": "x"}, {"limit": 0}],
    ids=lambda option: next(iter(option)),
)
def test_a_setting_that_cannot_be_is_refused(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has to be"):
        built(tmp_path / "out", "jsonl", tmp_path / "a.jsonl", **option)
