"""Reciprocal rank fusion of several rankings (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tr_grpo.search.ranking import NOTHING, Ranker, Ranking, ranking

K = 60
"""The paper's constant."""
DEPTH = 100
"""Rows that each ranking is asked for at least."""


def fuse(rankings: Sequence[Ranking], top_k: int, k: int = K) -> Ranking:
    """The rows of all rankings by the sum of 1 / (k + rank), rank counted from 1; equal sums by row."""
    if not any(len(one.rows) for one in rankings):
        return NOTHING
    rows, place = np.unique(np.concatenate([one.rows for one in rankings]), return_inverse=True)
    shares = np.concatenate([1 / (k + 1 + np.arange(len(one.rows))) for one in rankings])
    return ranking(rows, np.bincount(place, weights=shares), top_k)


class FusedRanker:
    """Asks every ranker for a deep list and fuses them."""

    def __init__(self, rankers: Sequence[Ranker], depth: int = DEPTH, k: int = K) -> None:
        self._rankers, self._depth, self._k = rankers, depth, k

    def rank(self, queries: Sequence[str], top_k: int) -> list[Ranking]:
        """As :class:`~tr_grpo.search.ranking.Ranker` says."""
        lists = [ranker.rank(queries, max(top_k, self._depth)) for ranker in self._rankers]
        return [fuse(rankings, top_k, self._k) for rankings in zip(*lists, strict=True)]
