"""Passages and questions for the benchmarks of search: made up, as many as wanted, the same for the same seed.

What the cost of BM25 depends on is like English: a passage has about 100 words as wiki-18's have, words follow
Zipf-Mandelbrot's law, the most frequent ones are English stop words, the vocabulary grows with the corpus. A question
takes words that stand near each other in one passage, and has 5 to 14 of them as NQ's questions do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

VOCABULARY = 400_000
SHIFT, EXPONENT = 2.7, 1.07
"""Of Zipf-Mandelbrot's law: a word's share falls as 1 / (rank + SHIFT) ** EXPONENT."""
CHUNK = 10_000
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


def word(rank: int) -> str:
    """The word of this rank; ranks above the stop words are written in syllables."""
    if rank < len(STOPWORDS_EN):
        return STOPWORDS_EN[rank]
    parts = []
    rank += len(SYLLABLES)  # two syllables or more
    while rank:
        rank, syllable = divmod(rank, len(SYLLABLES))
        parts.append(SYLLABLES[syllable])
    return "".join(parts) + "x"  # no word is a plural of another


class Words:
    """Draws words by their frequency."""

    def __init__(self) -> None:
        shares = (np.arange(1, VOCABULARY + 1) + SHIFT) ** -EXPONENT
        self._until = np.cumsum(shares / shares.sum())
        self._words = [word(rank) for rank in range(VOCABULARY)]

    def texts(self, random: np.random.Generator, lengths: NDArray[np.int64]) -> list[str]:
        """One text a length, in words."""
        ranks = np.searchsorted(self._until, random.random(int(lengths.sum())))
        words = [self._words[rank] for rank in np.minimum(ranks, VOCABULARY - 1).tolist()]
        ends = np.cumsum(lengths).tolist()
        return [" ".join(words[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def passages(count: int, seed: int = 0, length: int = 100) -> Iterator[dict[str, str]]:
    """Lines of a corpus in Search-R1's layout."""
    words = Words()
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        random = np.random.default_rng([seed, start])
        texts = words.texts(random, random.integers(length * 6 // 10, length * 14 // 10, size))
        titles = words.texts(random, np.full(size, 2))
        for row, (title, text) in enumerate(zip(titles, texts, strict=True), start=start):
            yield {"id": str(row), "contents": f'"{title}"\n{text}'}


def write(path: Path, count: int, seed: int = 0, length: int = 100) -> None:
    """A corpus as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for passage in passages(count, seed, length):
            file.write(json.dumps(passage) + "\n")


def questions(path: Path, count: int, seed: int = 0) -> list[str]:
    """Questions on the first passages of a corpus, no two alike."""
    random = np.random.default_rng([seed, 1])
    found: dict[str, Any] = {}
    texts = [
        json.loads(line)["contents"].split("\n")[1].split() for line, _ in zip(path.open(), range(50_000), strict=False)
    ]
    while len(found) < count:
        text = texts[int(random.integers(len(texts)))]
        size = int(random.integers(5, 15))
        start = int(random.integers(max(1, len(text) - 2 * size)))
        near = text[start : start + 2 * size]
        chosen = sorted(random.choice(len(near), min(size, len(near)), replace=False).tolist())
        found[" ".join(near[index] for index in chosen)] = None
    return list(found)
