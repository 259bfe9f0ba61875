"""What BM25, dense and fused search have in common: rows with scores, and how they become hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tr_grpo.search.corpus import PassageStore
from tr_grpo.search.passage import Hit


class Ranking(NamedTuple):
    """The best rows of one query, best first; equal scores in the order of the rows."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def ranking(rows: NDArray[np.generic], scores: NDArray[np.generic], top_k: int) -> Ranking:
    """The best ``top_k`` of these rows in order."""
    order = np.lexsort((rows, -scores.astype(np.float64)))[:top_k]
    return Ranking(rows[order].astype(np.int64), scores[order].astype(np.float64))


NOTHING = Ranking(np.zeros(0, np.int64), np.zeros(0, np.float64))


class Ranker(Protocol):
    """Finds rows."""

    def rank(self, queries: Sequence[str], top_k: int) -> list[Ranking]:
        """One ranking a query, of at most ``top_k`` rows; a blank or unmatched query has none."""
        ...


class IndexRetriever:
    """A ranker with its passages: the :class:`~tr_grpo.search.retriever.Retriever` of an index on disk."""

    def __init__(self, name: str, ranker: Ranker, store: PassageStore, digest: str) -> None:
        self.name = name
        self.digest = digest
        """sha256 of the index's manifest: two servers with the same one answer alike."""
        self._ranker, self._store = ranker, store

    @property
    def passages(self) -> int:
        """How many passages the index holds."""
        return len(self._store)

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """As the protocol says. ValueError: ``top_k`` below 1."""
        if top_k < 1:
            raise ValueError(f"top_k={top_k} has to be at least 1")
        return [self._hits(found) for found in self._ranker.rank(queries, top_k)]

    def _hits(self, found: Ranking) -> list[Hit]:
        pairs = zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        return [Hit(self._store[row], score) for row, score in pairs]
