"""BM25's ranking: the best of all scores, ties by row, nothing without a shared word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_indexes import passages

from tr_grpo.search.bm25 import Bm25Ranker, best_rows
from tr_grpo.search.postings import Bm25Config, PostingsWriter


def ranker(folder: Path, texts: list[str]) -> Bm25Ranker:
    writer = PostingsWriter(folder / "postings", Bm25Config())
    writer.add(texts, range(len(texts)))
    writer.finish(folder, len(texts), lambda done: None)
    return Bm25Ranker(folder, "plural")


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), min_size=1, max_size=60), st.integers(1, 70))
def test_the_kernel_selects_what_sorting_would(scores: list[float], top_k: int) -> None:
    """One word whose postings are the scores; few values, so that most of them are ties."""
    rows = np.flatnonzero(scores).astype(np.int32)
    postings = np.array(scores, np.float32)[rows]
    starts, words, ends = (np.array(values, np.int64) for values in ([0, len(rows)], [0], [1]))
    found, found_scores, filled = best_rows(postings, rows, starts, words, ends, len(scores), top_k)
    wanted = sorted(rows.tolist(), key=lambda row: (-scores[row], row))[:top_k]
    assert found[0, : filled[0]].tolist() == wanted
    assert found_scores[0, : filled[0]].tolist() == [scores[row] for row in wanted]


def test_equal_passages_come_in_the_order_of_the_corpus(tmp_path: Path) -> None:
    texts = ["a violin", "copper", "a violin", "the violin", "copper violin"]
    (found,) = ranker(tmp_path, texts).rank(["violin"], 3)
    assert found.rows.tolist() == [0, 2, 3]
    assert len(set(found.scores.tolist())) == 1


def test_a_query_gets_the_same_in_any_batch(tmp_path: Path) -> None:
    texts = [passage.contents for passage in passages(50)]
    index = ranker(tmp_path, texts)
    queries = [*texts[:20], "", "unknown words", "copper unknown"]
    together = index.rank(queries, 5)
    for query, found in zip(queries, together, strict=True):
        (alone,) = index.rank([query], 5)
        assert alone.rows.tolist() == found.rows.tolist()
        assert alone.scores.tolist() == found.scores.tolist()


@pytest.mark.parametrize("query", ["", "  ", "zebra", "the of", "?!", "\x00", "東京"])
def test_a_query_without_a_known_word_finds_nothing(tmp_path: Path, query: str) -> None:
    (found,) = ranker(tmp_path, ["a copper lantern", "the river"]).rank([query], 3)
    assert found.rows.tolist() == found.scores.tolist() == []


def test_no_queries_give_no_rankings(tmp_path: Path) -> None:
    assert ranker(tmp_path, ["a copper lantern"]).rank([], 3) == []


def test_a_passage_that_shares_no_word_is_not_found(tmp_path: Path) -> None:
    (found,) = ranker(tmp_path, ["a copper lantern", "the river", "copper"]).rank(["copper"], 10)
    assert sorted(found.rows.tolist()) == [0, 2]
    assert (found.scores > 0).all()


def test_accents_case_and_plurals_do_not_matter(tmp_path: Path) -> None:
    index = ranker(tmp_path, ["Beyoncé's lanterns", "river"])
    found = index.rank(["BEYONCE", "lantern", "beyonce\u0301"], 1)
    assert [one.rows.tolist() for one in found] == [[0], [0], [0]]


def test_a_corpus_of_stop_words_alone_can_be_searched(tmp_path: Path) -> None:
    (found,) = ranker(tmp_path, ["the of", "and"]).rank(["the"], 3)
    assert found.rows.tolist() == []
