"""Dense ranking: flat is the exact inner product, IVF with all its cells is flat, HNSW finds nearly all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_indexes import TableEncoder, contents_of, store_of, unit_vectors

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.dense import EMBEDDINGS, INDEX, DenseRanker, FaissConfig, build_faiss, embed
from tr_grpo.search.passage import Passage

SIZE, DIMENSION, QUERIES = 3000, 16, 40
VECTORS, ASKED = unit_vectors(SIZE, DIMENSION), unit_vectors(QUERIES, DIMENSION, seed=1)


def ranker(folder: Path, config: FaissConfig, vectors: np.ndarray = VECTORS, asked: np.ndarray = ASKED) -> DenseRanker:
    (folder / "dense").mkdir(parents=True)
    np.save(folder / EMBEDDINGS, vectors.astype(config.dtype))
    build_faiss(folder, config, lambda done: None)
    return DenseRanker(folder, config, TableEncoder(asked))


def rows_of(index: DenseRanker, top_k: int, queries: int = QUERIES) -> list[list[int]]:
    return [found.rows.tolist() for found in index.rank([str(query) for query in range(queries)], top_k)]


def exact(top_k: int) -> list[list[int]]:
    return np.argsort(-(ASKED.astype(np.float64) @ VECTORS.T.astype(np.float64)), axis=1)[:, :top_k].tolist()


def test_flat_is_the_exact_inner_product(tmp_path: Path) -> None:
    index = ranker(tmp_path, FaissConfig("flat"))
    assert rows_of(index, 10) == exact(10)
    (found,) = index.rank(["7"], 5)
    np.testing.assert_allclose(found.scores, VECTORS[found.rows] @ ASKED[7], atol=1e-6)
    assert (np.diff(found.scores) <= 0).all()


def test_ivf_that_visits_every_cell_is_flat(tmp_path: Path) -> None:
    assert rows_of(ranker(tmp_path, FaissConfig("ivf", nlist=20, nprobe=20)), 10) == exact(10)


def test_ivf_that_visits_one_cell_is_not(tmp_path: Path) -> None:
    """Shows that the test above would notice a setting that is not handed on."""
    assert rows_of(ranker(tmp_path, FaissConfig("ivf", nlist=20, nprobe=1)), 10) != exact(10)


@pytest.mark.parametrize("config", [FaissConfig("hnsw"), FaissConfig("ivf", nprobe=24)], ids=["hnsw", "ivf"])
def test_approximate_search_finds_nearly_all(tmp_path: Path, config: FaissConfig) -> None:
    found = rows_of(ranker(tmp_path, config), 10)
    recall = sum(len(set(one) & set(other)) for one, other in zip(found, exact(10), strict=True)) / (10 * QUERIES)
    assert recall >= 0.95


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_half_precision_is_kept_in_half_the_room_and_finds_the_same(tmp_path: Path, kind: str) -> None:
    full, half = (ranker(tmp_path / dtype, FaissConfig(kind, dtype, nprobe=999)) for dtype in ("float32", "float16"))
    sizes = [(tmp_path / dtype / EMBEDDINGS).stat().st_size for dtype in ("float32", "float16")]
    assert sizes[0] > 1.9 * sizes[1]
    assert [found[0] for found in rows_of(full, 1)] == [found[0] for found in rows_of(half, 1)]
    (one,), (other,) = full.rank(["3"], 1), half.rank(["3"], 1)
    np.testing.assert_allclose(one.scores, other.scores, atol=2e-3)


def test_equal_vectors_come_in_the_order_of_the_corpus(tmp_path: Path) -> None:
    vectors = np.repeat(unit_vectors(5, DIMENSION), 4, axis=0)
    index = ranker(tmp_path, FaissConfig("flat"), vectors, vectors)
    for found in index.rank([str(query) for query in range(len(vectors))], 20):
        pairs = list(zip((-found.scores).tolist(), found.rows.tolist(), strict=True))
        assert pairs == sorted(pairs)


def test_blank_queries_find_nothing_and_more_than_there_is_finds_all(tmp_path: Path) -> None:
    index = ranker(tmp_path, FaissConfig("flat"), VECTORS[:7])
    blank, one, other = index.rank([" ", "0", ""], 50)
    assert blank.rows.tolist() == other.rows.tolist() == []
    assert sorted(one.rows.tolist()) == list(range(7))
    assert index.rank([], 3) == []


def test_the_cells_are_trained_alike_with_one_seed(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for folder, seed in ((first, 0), (again, 0), (other, 1)):
        ranker(folder, FaissConfig("ivf", nlist=4, seed=seed))
    assert (first / INDEX).read_bytes() == (again / INDEX).read_bytes() != (other / INDEX).read_bytes()


@pytest.mark.parametrize(("passages", "cells"), [(1, 1), (78, 2), (10_000, 256), (1_000_000, 4000)])
def test_cells_follow_the_corpuss_size(passages: int, cells: int) -> None:
    assert FaissConfig("ivf").cells(passages) == cells
    assert 1 <= FaissConfig("ivf").probes(passages) <= cells


def test_embedding_goes_on_at_the_row_that_was_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tr_grpo.search.dense.CHUNK", 8)
    store = store_of(tmp_path, [Passage(str(row), "", str(row)) for row in range(30)])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert list(embed(store, TableEncoder(VECTORS), "float32", whole / EMBEDDINGS, 0)) == [8, 16, 24, 30]
    interrupted = embed(store, TableEncoder(VECTORS), "float32", parts / EMBEDDINGS, 0)
    assert next(interrupted) == 8
    interrupted.close()
    assert list(embed(store, TableEncoder(VECTORS), "float32", parts / EMBEDDINGS, 8)) == [16, 24, 30]
    assert contents_of(whole) == contents_of(parts)
    np.testing.assert_array_equal(np.load(whole / EMBEDDINGS), VECTORS[:30])


@pytest.mark.parametrize("options", [{"kind": "lsh"}, {"dtype": "int8"}])
def test_unknown_choices_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="has to be one of"):
        FaissConfig(**options)
