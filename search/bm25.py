"""BM25 over an index in bm25s's format, memory-mapped; scored and selected by a kernel compiled once a machine.

bm25s's own selection breaks ties by chance of a heap and holds Python's lock while it scores. The kernel here keeps
the passage that stands first in the corpus, lets other threads run, and is cached on disk by numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tr_grpo.search.ranking import Ranking
from tr_grpo.search.words import STOP_WORDS, raw_words, stemmer


@njit(cache=True, nogil=True)
def best_rows(
    scores: Any, rows: Any, starts: Any, words: Any, ends: Any, passages: int, top_k: int
) -> tuple[Any, Any, Any]:
    """For each query the rows of highest score, equal ones by row, without those of score 0.

    scores, rows: the postings of all words; starts: [words + 1] where each word's begin. words: of all queries one
    after the other; ends: [queries] where each query's words end. Returns rows and scores, [queries, top_k], and how
    many of each row of these are filled.
    """
    best = np.zeros((len(ends), top_k), np.int64)
    best_scores = np.zeros((len(ends), top_k), np.float32)
    filled = np.zeros(len(ends), np.int64)
    total = np.empty(passages, np.float32)
    start = 0
    for query, end in enumerate(ends):
        total[:] = 0
        for word in words[start:end]:
            for at in range(starts[word], starts[word + 1]):
                total[rows[at]] += scores[at]
        start = end
        mine, found = best_scores[query], 0
        least = np.float32(0)  # a score has to be above it to enter
        for row in range(passages):
            score = total[row]
            if score > least:
                at = found if found < top_k else top_k - 1
                while at and mine[at - 1] < score:
                    mine[at], best[query, at] = mine[at - 1], best[query, at - 1]
                    at -= 1
                mine[at], best[query, at] = score, row
                found = min(found + 1, top_k)
                if found == top_k:
                    least = mine[top_k - 1]
        filled[query] = found
    return best, best_scores, filled


class Bm25Ranker:
    """Ranks by the sum of the query's words' scores; a word that the query has twice counts twice."""

    def __init__(self, folder: Path, stem: str) -> None:
        from bm25s import BM25

        index = BM25.load(folder / "bm25", mmap=True)
        parts = index.scores
        # Plain arrays over the mapped pages: numba compiles for those.
        self._scores, self._rows = np.asarray(parts["data"]), np.asarray(parts["indices"])
        self._starts: NDArray[np.int64] = np.asarray(parts["indptr"])
        self._passages: int = parts["num_docs"]
        self._vocabulary: dict[str, int] = index.vocab_dict
        self._stem = stemmer(stem)
        self.rank(["warm up"], 1)  # compiles, or loads what was compiled

    def rank(self, queries: Sequence[str], top_k: int) -> list[Ranking]:
        """As :class:`~tr_grpo.search.ranking.Ranker` says."""
        numbers = [self._numbers(query) for query in queries]
        words = np.array([number for one in numbers for number in one], np.int64)
        ends = np.cumsum([len(one) for one in numbers], dtype=np.int64)
        top_k = min(top_k, self._passages)
        rows, scores, filled = best_rows(self._scores, self._rows, self._starts, words, ends, self._passages, top_k)
        return [
            Ranking(rows[query, :found], scores[query, :found].astype(np.float64))
            for query, found in enumerate(filled.tolist())
        ]

    def _numbers(self, query: str) -> list[int]:
        known = (self._vocabulary.get(self._stem(raw)) for raw in raw_words(query) if raw not in STOP_WORDS)
        return [number for number in known if number is not None]
