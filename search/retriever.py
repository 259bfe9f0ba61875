"""What every retriever is: BM25, dense, fused, or servers elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tr_grpo.search.passage import Hit


class Retriever(Protocol):
    """Answers batches of queries. Safe to call from one thread at a time."""

    name: str
    """What it is, for /health and messages: ``bm25``, ``dense``, ``fused`` ..."""

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """The best passages for each query, best first: at most ``top_k`` each, fewer where fewer match.

        Equal scores are ordered by the passage's place in the corpus, so that the same query always gives the same
        list. ``queries`` may be empty; an empty or unmatched query gives an empty list, never an error.
        """
        ...
