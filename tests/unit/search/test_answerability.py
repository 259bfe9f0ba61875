"""The share of questions that an index can answer, by hand and with a real index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy.stats import binomtest
from small_indexes import built, write_corpus, write_jsonl
from typer import Typer
from typer.testing import CliRunner

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.schema import arrow_schema, write_rows
from tr_grpo.data_prep.search_qa import SOURCES, SearchQAConfig, build_dataset
from tr_grpo.search.answerability import Share, answerability, answerable
from tr_grpo.search.opening import open_index
from tr_grpo.search.passage import Hit, Passage

TOWNS = [
    Passage("0", "Velden", "Velden lies on the river Orl."),
    Passage("1", "Orl", "The Orl is 2010 km long and passes Velden and Marn."),
    Passage("2", "Marn", "Marn is a town of bakers."),
]


class Listed:
    """A retriever that always finds the same passages, and writes down what it was asked."""

    name = "listed"

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self.asked: list[str] = []

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        self.asked += queries
        return [[Hit(passage, -float(n)) for n, passage in enumerate(self.passages[:top_k])] for _ in queries]


def prepared(tmp_path: Path, *asked: tuple[str, str]) -> Path:
    """A file of questions and their answers."""
    rows = [{"question": question, "answer": [answer]} for question, answer in asked]
    file = write_jsonl(tmp_path / "asked.jsonl", rows)
    build_dataset(SearchQAConfig(tmp_path / "qa", SOURCES["jsonl"], (str(file),), split="test"))
    return tmp_path / "qa" / "test.parquet"


def found(shares: Sequence[Share]) -> dict[int, int]:
    return {share.depth: share.found for share in shares}


def test_a_question_counts_from_the_first_passage_on_that_holds_its_answer(tmp_path: Path) -> None:
    data = prepared(tmp_path, ("a", "the river Orl"), ("b", "Marn"), ("c", "bakers"), ("d", "Paris"))
    retriever = Listed(TOWNS)
    assert found(answerability(data, retriever)) == {1: 1, 3: 3, 5: 3, 10: 3}
    assert retriever.asked == ["a", "b", "c", "d"], "the question alone, without the prompt around it"
    assert found(answerability(data, retriever, top_k=2)) == {1: 1, 2: 2}


def test_an_answer_in_a_title_counts_and_one_inside_a_word_only_if_asked(tmp_path: Path) -> None:
    data = prepared(tmp_path, ("a", "10"), ("b", "orl"))
    assert found(answerability(data, Listed(TOWNS[1:]), top_k=1)) == {1: 1}
    assert found(answerability(data, Listed(TOWNS[1:]), top_k=1, match="characters")) == {1: 2}


def test_each_data_source_has_its_own_share(tmp_path: Path) -> None:
    data = tmp_path / "x.parquet"
    rows = [
        {
            "data_source": source,
            "prompt": [{"role": "user", "content": f"Answer. Question: {source}?\n"}],
            "ability": "",
            "reward_model": {"style": "rule", "ground_truth": answer},
            "extra_info": {"index": 0, "split": "test"},
        }
        for source, answer in (("nq", "Velden"), ("popqa", "Paris"), ("nq", "Paris"))
    ]
    write_rows(data, rows, arrow_schema())
    retriever = Listed(TOWNS[:1])
    assert answerability(data, retriever, 1) == [Share("nq", 1, 1, 2), Share("popqa", 1, 0, 1)]
    assert retriever.asked == ["nq?", "popqa?", "nq?"]


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (7, 7), (3, 10), (335, 3610)])
def test_the_interval_is_wilsons(hits: int, count: int) -> None:
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert Share("x", 1, hits, count).interval == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_file_that_the_scorer_cannot_read_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "x.parquet"
    row = {
        "data_source": "nq",
        "prompt": [{"role": "user", "content": "x"}],
        "ability": "",
        "reward_model": {"style": "rule", "ground_truth": " "},
        "extra_info": {"index": 0, "split": "test"},
    }
    write_rows(data, [row], arrow_schema())
    with pytest.raises(InputError, match="row 0: ground truth holds no answer"):
        answerability(data, Listed(TOWNS))
    with pytest.raises(InputError, match="--match exact: has to be one of words, characters"):
        answerability(data, Listed(TOWNS), match="exact")


def test_the_command_asks_a_real_index(tmp_path: Path) -> None:
    data = prepared(tmp_path, ("which river is Velden on", "Orl"), ("who lives in Marn", "bakers"), ("x y z", "Paris"))
    index = built(tmp_path / "index", write_corpus(tmp_path / "corpus.jsonl", TOWNS))
    assert found(answerability(data, open_index(index), 3)) == {1: 2, 3: 2}
    app = Typer()
    app.command()(answerable)
    result = CliRunner().invoke(app, [str(index), "--data", str(data), "--top-k", "1"])
    assert result.exit_code == 0, result.output
    assert result.output == "search_qa/custom: top 1: 2 of 3 questions, 66.7% (95 %: 20.8% to 93.9%)\n"
