"""BM25's arrays: bm25s's own on any corpus, whatever the chunks; a shard's scores are those of the whole corpus."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from bm25s import BM25
from hypothesis import given, settings
from hypothesis import strategies as st
from small_indexes import WORDS, contents_of, passages

from tr_grpo.search.bm25 import Bm25Ranker
from tr_grpo.search.postings import Bm25Config, PostingsWriter
from tr_grpo.search.words import STOP_WORDS, raw_words, singular

texts = st.lists(st.sampled_from([*WORDS, "rivers", "the", "of", ""]), max_size=8).map(" ".join)


def write(folder: Path, chunks: list[list[str]], config: Bm25Config | None = None) -> Path:
    writer = PostingsWriter(folder / "postings", config or Bm25Config())
    rows = 0
    for chunk in chunks:
        writer.add(chunk, range(rows, rows + len(chunk)))
        rows += len(chunk)
    writer.finish(folder, rows, lambda done: None)
    return folder


def words_of(text: str) -> list[str]:
    return [singular(word) for word in raw_words(text) if word not in STOP_WORDS]


def score(corpus: list[str], query: str, row: int, config: Bm25Config) -> float:
    """The formula of Lucene as Kamphuis et al. (ECIR 2020) give it, without numpy."""
    documents = [Counter(words_of(text)) for text in corpus]
    mean = sum(document.total() for document in documents) / len(documents)
    total, here = 0.0, documents[row]
    for word in words_of(query):
        among = sum(word in document for document in documents)
        idf = math.log(1 + (len(corpus) - among + 0.5) / (among + 0.5))
        norm = config.k1 * (1 - config.b + config.b * here.total() / mean) if mean else 1
        total += idf * here[word] / (here[word] + norm)
    return total


@settings(max_examples=60)
@given(st.lists(texts, min_size=1, max_size=12), texts, st.sampled_from([Bm25Config(), Bm25Config(1.5, 0.75)]))
def test_scores_are_the_formulas(corpus: list[str], query: str, config: Bm25Config) -> None:
    with TemporaryDirectory() as name:
        ranker = Bm25Ranker(write(Path(name), [corpus], config), config.stem)
        (found,) = ranker.rank([query], len(corpus))
    wanted = {row: score(corpus, query, row, config) for row in range(len(corpus))}
    assert sorted(found.rows.tolist()) == [row for row, value in wanted.items() if value > 0]
    np.testing.assert_allclose(found.scores, [wanted[row] for row in found.rows.tolist()], rtol=1e-5)
    assert (np.diff(found.scores) <= 0).all()


def test_the_arrays_are_those_that_bm25s_makes(tmp_path: Path) -> None:
    corpus = [passage.contents for passage in passages(200)]
    folder = write(tmp_path, [corpus[:70], corpus[70:]])
    tokens = [words_of(text) for text in corpus]
    peer = BM25(k1=0.9, b=0.4, method="lucene")
    peer.index(tokens, show_progress=False)
    ours = BM25.load(folder / "bm25", mmap=True)
    for word in {word for text in tokens for word in text}:
        theirs, mine = (index.get_scores([word]) for index in (peer, ours))
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


@settings(max_examples=25)
@given(st.lists(texts, min_size=1, max_size=12), st.integers(1, 12))
def test_chunks_do_not_change_a_byte(corpus: list[str], size: int) -> None:
    parts = [corpus[at : at + size] for at in range(0, len(corpus), size)]
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        whole, chunked = write(Path(one), [corpus]), write(Path(other), parts)
        assert contents_of(whole / "bm25") == contents_of(chunked / "bm25")


def test_a_writer_goes_on_from_the_chunks_on_disk(tmp_path: Path) -> None:
    corpus = [passage.contents for passage in passages(30)]
    whole = write(tmp_path / "whole", [corpus[:10], corpus[10:20], corpus[20:]])
    folder = tmp_path / "interrupted"
    first = PostingsWriter(folder / "postings", Bm25Config())
    first.add(corpus[:10], range(10))
    first.add(["a chunk that was written", "but not marked as done: zebra"], range(10, 12))
    second = PostingsWriter(folder / "postings", Bm25Config(), done=1)
    second.add(corpus[10:20], range(10, 20))
    second.add(corpus[20:], range(20, 30))
    second.finish(folder, 30, lambda done: None)
    assert contents_of(whole / "bm25") == contents_of(folder / "bm25")


@pytest.mark.parametrize("shards", [2, 3])
def test_a_shards_scores_are_those_of_the_whole_corpus(tmp_path: Path, shards: int) -> None:
    corpus = [passage.contents for passage in passages(40)]
    whole = Bm25Ranker(write(tmp_path / "whole", [corpus]), "plural")
    merged = {}
    for shard in range(shards):
        writer = PostingsWriter(tmp_path / f"{shard}" / "postings", Bm25Config())
        writer.add(corpus, [row // shards if row % shards == shard else -1 for row in range(len(corpus))])
        size = len(range(shard, len(corpus), shards))
        writer.finish(tmp_path / f"{shard}", size, lambda done: None)
        (found,) = Bm25Ranker(tmp_path / f"{shard}", "plural").rank(["copper rivers violin"], size)
        merged |= {row * shards + shard: score for row, score in zip(*map(np.ndarray.tolist, found), strict=True)}
    (wanted,) = whole.rank(["copper rivers violin"], len(corpus))
    assert merged == dict(zip(*map(np.ndarray.tolist, wanted), strict=True))
