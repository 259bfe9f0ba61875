"""Answers to queries that come again: a policy's rollouts of one prompt often ask the same."""

from __future__ import annotations

from typing import NamedTuple

from cachetools import LRUCache

OVERHEAD = 400
"""Bytes of an entry beside its query and its answer: objects, the table's place (measured: about 380)."""


class Key(NamedTuple):
    """What an answer depends on."""

    query: str
    top_k: int
    scored: bool


class _Entry(NamedTuple):
    answer: bytes
    size: int


class AnswerCache:
    """The least recently used answers go first when ``megabytes`` are full. For one thread."""

    def __init__(self, megabytes: int) -> None:
        self._entries: LRUCache[Key, _Entry] = LRUCache(megabytes << 20, getsizeof=lambda entry: entry.size)

    def get(self, key: Key) -> bytes | None:
        """The encoded answer, or None."""
        entry = self._entries.get(key)
        return entry.answer if entry else None

    def put(self, key: Key, answer: bytes) -> None:
        """Keep ``answer``, unless it alone is larger than the cache."""
        size = len(answer) + 4 * len(key.query) + OVERHEAD
        if size <= self._entries.maxsize:
            self._entries[key] = _Entry(answer, size)
