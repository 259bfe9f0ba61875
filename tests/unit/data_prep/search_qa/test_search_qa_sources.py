"""Each source's published layout becomes verl rows, each split the file that Search-R1 makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qa_layouts import built, flashrag, jsonl, parquet, search_r1

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.schema import read_rows, validate_parquet
from tr_grpo.data_prep.search_qa import SOURCES, TEMPLATES
from tr_grpo.reward.scorers import scores
from tr_grpo.reward.search_qa import DATA_SOURCES, examples, judge, parse_solution
from tr_grpo.reward.verdict import Verdict

SETS = [name for name, source in SOURCES.items() if source.config]
SEARCH_R1_PROMPT = (
    "Answer the given question. You must conduct reasoning inside <think> and </think> first every time you get new "
    "information. After reasoning, if you find you lack some knowledge, you can call a search engine by <search> query "
    "</search> and it will return the top searched results between <information> and </information>. You can search as "
    "many times as your want. If you find no further external knowledge needed, you can directly provide the answer "
    "inside <answer> and </answer>, without detailed illustrations. For example, <answer> Beijing </answer>. "
    "Question: who wrote book 0?\n"
)


def folder_of(source: str, folder: Path) -> Path:
    """FlashRAG's layout: a folder a set, a file a split, and splits that are not used."""
    for number, split in enumerate(("train", "dev", "test")):
        used = [part.name for part in SOURCES[source].splits]
        if split in used or "test" in used:
            jsonl(folder / source / f"{split}.jsonl", [flashrag(10 * number + n) for n in range(3)])
    return folder


def test_a_row_is_verls_with_all_aliases_and_the_loops_name(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "test.jsonl", [flashrag(0, answers=["Jane Doe", "J. Doe"])])
    built(tmp_path / "out", "bamboogle", file)
    assert read_rows(tmp_path / "out" / "test.parquet") == [
        {
            "data_source": "bamboogle",
            "prompt": [{"role": "user", "content": SEARCH_R1_PROMPT}],
            "ability": "fact-reasoning",
            "reward_model": {"style": "rule", "ground_truth": {"target": ["Jane Doe", "J. Doe"]}},
            "extra_info": {
                "index": 0,
                "split": "test",
                "question": "who wrote book 0",
                "source": "bamboogle",
                "source_id": "test_0",
            },
            "agent_name": "search_r1",
        }
    ]


@pytest.mark.parametrize("source", SETS)
def test_a_copy_of_flashrags_repository_gives_search_r1s_splits(source: str, tmp_path: Path) -> None:
    built(tmp_path / "out", source, folder_of(source, tmp_path / "copy"))
    first = {"train": 0, "dev": 10, "test": 20}
    for part in SOURCES[source].splits:
        rows = read_rows(tmp_path / "out" / f"{part.to}.parquet")
        assert rows[0]["extra_info"]["question"] == f"who wrote book {first[part.name]}"
        assert {row["data_source"] for row in rows} == {source}
    assert (tmp_path / "out" / "train.parquet").exists() is any(part.to == "train" for part in SOURCES[source].splits)


def test_the_sets_own_folder_and_single_files_will_do(tmp_path: Path) -> None:
    folder = folder_of("hotpotqa", tmp_path / "copy") / "hotpotqa"
    a = built(tmp_path / "a", "hotpotqa", folder)
    b = built(tmp_path / "b", "hotpotqa", folder / "train.jsonl", folder / "dev.jsonl", apart_from=())
    assert a["files"] == b["files"]


def test_search_r1s_own_file_keeps_each_rows_data_source(tmp_path: Path) -> None:
    parquet(tmp_path / "hub" / "train.parquet", [search_r1(0), search_r1(1, "hotpotqa")])
    parquet(tmp_path / "hub" / "test.parquet", [search_r1(2, "popqa")])
    manifest = built(tmp_path / "out", "nq_hotpotqa_train", tmp_path / "hub")
    rows = read_rows(tmp_path / "out" / "train.parquet")
    assert [row["data_source"] for row in rows] == ["nq", "hotpotqa"]
    assert rows[0]["reward_model"]["ground_truth"] == {"target": ["Author 0"]}
    assert rows[0]["prompt"][0]["content"] == SEARCH_R1_PROMPT, "one question mark, not two"
    assert read_rows(tmp_path / "out" / "test.parquet")[0]["data_source"] == "popqa"
    assert manifest["data_source"] == "of each row"


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"question": "q", "answer": ["December 1972", "1972"]}, ["December 1972", "1972"]),
        ({"question": "q", "golden_answers": "x", "answer": "y"}, ["x"]),
        ({"question": "q", "reward_model": {"ground_truth": {"target": ["x"]}, "style": "rule"}}, ["x"]),
        ({"question": "q", "answer": [1972, "1972", "", " x "]}, ["1972", "x"]),
    ],
)
def test_own_files_come_in_any_of_the_known_layouts(row: dict[str, Any], answers: list[str], tmp_path: Path) -> None:
    built(tmp_path / "out", "jsonl", jsonl(tmp_path / "mine.jsonl", [row]), split="test")
    (made,) = read_rows(tmp_path / "out" / "test.parquet")
    assert made["reward_model"]["ground_truth"]["target"] == answers
    assert made["data_source"] == "search_qa/custom"
    assert made["extra_info"]["source_id"] == "1", "the line, where the row has no id"


def test_own_columns(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "mine.jsonl", [{"ask": "q", "say": "x", "answer": "no"}])
    built(tmp_path / "out", "jsonl", file, question_column="ask", answer_column="say", data_source="search_qa/mine")
    (made,) = read_rows(tmp_path / "out" / "train.parquet")
    assert (made["data_source"], made["reward_model"]["ground_truth"]["target"]) == ("search_qa/mine", ["x"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_asks_for_the_answer_tag_and_names_its_loop(name: str, tmp_path: Path) -> None:
    built(tmp_path / "out", "jsonl", jsonl(tmp_path / "a.jsonl", [flashrag(0)]), template=name)
    (row,) = read_rows(tmp_path / "out" / "train.parquet")
    (message,) = row["prompt"]
    assert "<answer> Beijing </answer>. Question: who wrote book 0?" in message["content"]
    assert ("<search>" in message["content"]) is (name == "search_r1")
    agents = {"search_r1": "search_r1", "tool": "search_tool", "plain": "single_turn_agent"}
    assert row["agent_name"] == agents[name]


def test_the_scorer_reads_what_verl_makes_of_the_file(tmp_path: Path) -> None:
    """verl hands the ground truth on as ``datasets`` reads it, or with arrays in place of lists."""
    from datasets import load_dataset

    built(tmp_path / "out", "jsonl", jsonl(tmp_path / "a.jsonl", [flashrag(0, answers=["Jane Doe", "J. Doe"])]))
    path = tmp_path / "out" / "train.parquet"
    assert validate_parquet(path) == 1
    table = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"), split="train")
    truth = table[0]["reward_model"]["ground_truth"]
    solution = parse_solution(truth)
    assert solution == parse_solution({"target": np.array(truth["target"], dtype=object)})
    assert judge(examples(solution)[0], solution).verdict is Verdict.RIGHT
    assert table[0]["agent_name"] == "search_r1"


def test_every_sources_rows_have_this_scorer() -> None:
    assert all(scores(DATA_SOURCES, name) for name in (*SETS, "search_qa/custom"))


@pytest.mark.parametrize(
    ("source", "inputs", "split", "fault"),
    [
        ("popqa", (), "train", "has no train split"),
        ("nq", (), "dev", "--split dev: has to be train or test"),
        ("jsonl", (), "", "is your own file: pass it with --from FILE"),
        ("jsonl", ("missing.jsonl",), "", "no such file; --from has to name a file"),
        ("nq", ("missing/train.jsonl",), "", "no such file or folder, and no hub name"),
        ("nq", ("dev.jsonl",), "", "neither train nor test by its name; pass --split"),
        ("hotpotqa", ("empty",), "", "no train.jsonl and no train.parquet"),
    ],
)
def test_inputs_that_are_missing_or_unclear_are_named(
    source: str, inputs: tuple[str, ...], split: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "dev.jsonl", [flashrag(0)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=fault):
        built(tmp_path / "out", source, *map(Path, inputs), split=split)
