"""Reciprocal rank fusion: the closed form, ties, lists that are empty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.search.fusion import FusedRanker, fuse
from tr_grpo.search.ranking import NOTHING, Ranking

orders = st.lists(st.permutations(range(8)).flatmap(lambda rows: st.integers(0, 8).map(lambda n: rows[:n])), max_size=3)


def of(rows: Sequence[int]) -> Ranking:
    return Ranking(np.array(rows, np.int64), -np.arange(len(rows), dtype=np.float64))


def test_the_sum_of_reciprocal_ranks() -> None:
    found = fuse([of([4, 2]), of([2, 9, 4])], top_k=5)
    assert found.rows.tolist() == [2, 4, 9]
    np.testing.assert_allclose(found.scores, [1 / 62 + 1 / 61, 1 / 61 + 1 / 63, 1 / 62], rtol=1e-12)


def test_equal_sums_come_in_the_order_of_the_corpus() -> None:
    assert fuse([of([7, 3]), of([3, 7])], top_k=2).rows.tolist() == [3, 7]
    assert fuse([of([7, 3]), of([3, 7])], top_k=1).rows.tolist() == [3]


@given(orders, st.integers(1, 9))
def test_fusion_is_the_definition(lists: list[list[int]], top_k: int) -> None:
    wanted = {row: sum(1 / (61 + one.index(row)) for one in lists if row in one) for one in lists for row in one}
    found = fuse([of(one) for one in lists], top_k)
    assert len(found.rows) == min(top_k, len(wanted))
    np.testing.assert_allclose(found.scores, [wanted[row] for row in found.rows.tolist()], rtol=1e-12)
    np.testing.assert_allclose(found.scores, sorted(wanted.values(), reverse=True)[:top_k], rtol=1e-12)


class _Fixed:
    """A ranker with an answer ready; remembers how deep it was asked."""

    def __init__(self, rows: list[int]) -> None:
        self.rows, self.asked = rows, 0

    def rank(self, queries: Sequence[str], top_k: int) -> list[Ranking]:
        self.asked = top_k
        return [of(self.rows[:top_k]) if query else NOTHING for query in queries]


def test_each_ranking_is_asked_for_more_than_is_wanted() -> None:
    """Row 5 is third in both lists: it is only found first if the lists are deeper than top_k."""
    one, other = _Fixed([1, 2, 5]), _Fixed([3, 4, 5])
    first, second = FusedRanker([one, other]).rank(["query", ""], top_k=1)
    assert first.rows.tolist() == [5]
    assert second.rows.tolist() == []
    assert one.asked == other.asked == 100
    FusedRanker([one, other]).rank(["query"], top_k=300)
    assert one.asked == 300
