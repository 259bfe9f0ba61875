"""BM25's index, made in chunks of passages and put together at the end, in the format of bm25s.

bm25s itself wants every token of the corpus in memory at once. Here a chunk's words are counted and written to a file
of its own (which survives an interruption); the last step adds the counts up and scatters the scores into the arrays
that ``bm25s.BM25.load`` maps. Memory holds the vocabulary and one chunk, whatever the size of the corpus.

The statistics (number of passages, their mean length, passages a word) are those of all passages read, also where
this index keeps only a shard of them: a passage has the same score in a shard as in an index of the whole corpus.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tr_grpo.data_prep.storage import write_atomic
from tr_grpo.search.arrays import create_array, flush
from tr_grpo.search.words import STOP_WORDS, raw_words, stemmer

FILES = tuple(f"bm25/{name}" for name in (
    "data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy", "vocab.index.json", "params.index.json"
))  # fmt: skip
_STOP = -1
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Bm25Config:
    """``index build``'s options of BM25. k1 and b are Pyserini's, which Search-R1's BM25 is."""

    k1: float = 0.9
    b: float = 0.4
    stem: str = "plural"


class Vocabulary(dict[str, int]):
    """Raw word to word number; a new word gets the next number, a stop word ``_STOP``."""

    def __init__(self, stem: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}
        self._stem = stemmer(stem)

    def __missing__(self, raw: str) -> int:
        number = _STOP if raw in STOP_WORDS else self.add(self._stem(raw))
        self[raw] = number
        return number

    def add(self, word: str) -> int:
        """The number of a stemmed word, a new one if it is new."""
        number = self._numbers.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        return number

    def of(self, text: str) -> list[int]:
        """The numbers of the words of ``text`` without the stop words."""
        return [number for raw in raw_words(text) if (number := self[raw]) != _STOP]


class PostingsWriter:
    """Counts words chunk by chunk. Chunks that ``folder`` already has are taken up by number, not counted again."""

    def __init__(self, folder: Path, config: Bm25Config, done: int = 0) -> None:
        self._folder, self._config = folder, config
        self._chunks = 0
        self._vocabulary = Vocabulary(config.stem)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(done):
            with np.load(self._file(number)) as chunk:
                for word in chunk["words"].tobytes().decode().split():
                    self._vocabulary.add(word)
            self._chunks += 1

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06}.npz"

    def add(self, texts: Sequence[str], rows: Sequence[int]) -> None:
        """Write the next chunk: one text a passage and its row in this index, -1 for a passage of another shard."""
        known = len(self._vocabulary.words)
        numbers = [self._vocabulary.of(text) for text in texts]
        lengths = np.array([len(words) for words in numbers], np.int64)
        words = np.fromiter((word for one in numbers for word in one), np.int64, int(lengths.sum()))
        # One number a pair of word and passage: sorted by word, then by passage.
        pairs, counts = np.unique(words * len(texts) + np.repeat(np.arange(len(texts)), lengths), return_counts=True)
        words, texts_of = np.divmod(pairs, max(len(texts), 1))
        found_in, passages = np.unique(words, return_counts=True)
        row_of = np.array(rows, np.int64)[texts_of]
        mine = row_of >= 0
        new = " ".join(self._vocabulary.words[known:]).encode()
        contents = {
            "words": np.frombuffer(new, np.uint8),
            "found_in": found_in,  # a word, and beside it ...
            "passages": passages,  # ... in how many passages it is
            "read": np.array([len(texts), lengths.sum()]),
            "word": words[mine].astype(np.int32),
            "row": row_of[mine].astype(np.int32),
            "count": counts[mine].astype(np.int32),
            "length": lengths[texts_of[mine]].astype(np.int32),
        }

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(file, **contents)

        write_atomic(self._file(self._chunks), write)
        self._chunks += 1

    def finish(self, out: Path, rows: int, progress: Progress) -> None:
        """Put the chunks together in ``out/bm25``. ``progress``: how many chunks were added."""
        (out / "bm25").mkdir(parents=True, exist_ok=True)
        data, indices, indptr, vocabulary, params = (out / name for name in FILES)
        statistics = self._statistics()
        np.save(indptr, statistics.starts)
        size = int(statistics.starts[-1])
        score_of = create_array(data, np.float32, (size,))
        row_of = create_array(indices, np.int32, (size,))
        heads = statistics.starts[:-1].copy()  # where the next posting of each word goes
        for number in range(self._chunks):
            with np.load(self._file(number)) as chunk:
                word, tf, length = chunk["word"], chunk["count"].astype(np.float64), chunk["length"]
                places, heads = _places(word, heads)
                norm = self._config.k1 * (1 - self._config.b + self._config.b * length / statistics.mean_length)
                score_of[places] = statistics.idf[word] * tf / (tf + norm)
                row_of[places] = chunk["row"]
            progress(1)
        for array in (score_of, row_of):
            flush(array)
        words = {word: number for number, word in enumerate(self._vocabulary.words)}
        vocabulary.write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
        params.write_text(json.dumps(self._params(rows), indent=2) + "\n", encoding="utf-8")

    def _statistics(self) -> _Statistics:
        size = len(self._vocabulary.words)
        everywhere, here, read = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(2, np.int64)
        for number in range(self._chunks):
            with np.load(self._file(number)) as chunk:
                everywhere[chunk["found_in"]] += chunk["passages"]
                here += np.bincount(chunk["word"], minlength=size)
                read += chunk["read"]
        passages, length = read.tolist()
        return _Statistics(
            starts=np.concatenate([[0], np.cumsum(here)]).astype(np.int64),
            idf=np.log1p((passages - everywhere + 0.5) / (everywhere + 0.5)),  # Lucene's
            mean_length=max(length / max(passages, 1), 1e-9),
        )

    def _params(self, rows: int) -> dict[str, Any]:
        from importlib.metadata import version

        kind: dict[str, Any] = {"method": "lucene", "idf_method": "lucene", "dtype": "float32", "int_dtype": "int32"}
        numbers = {"k1": self._config.k1, "b": self._config.b, "delta": 0.5, "num_docs": rows}
        return kind | numbers | {"backend": "numpy", "version": version("bm25s")}


@dataclass(frozen=True)
class _Statistics:
    starts: NDArray[np.int64]  # [words + 1]: where the postings of each word start
    idf: NDArray[np.float64]  # [words]
    mean_length: float  # of all passages read


def _places(word: NDArray[np.int32], heads: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a chunk's postings, sorted by word, go; and where the next chunk's start."""
    counts = np.bincount(word, minlength=len(heads))
    first = np.cumsum(counts) - counts  # of each word within the chunk
    return heads[word] + np.arange(len(word)) - first[word], heads + counts
