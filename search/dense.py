"""Dense search: embeddings in chunks into a memory-mapped array, and a FAISS index of inner products over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import write_atomic
from tr_grpo.search.arrays import create_array, flush
from tr_grpo.search.corpus import PassageStore
from tr_grpo.search.ranking import NOTHING, Ranking, ranking

EMBEDDINGS, INDEX = "dense/embeddings.npy", "dense/index.faiss"
KINDS = ("flat", "ivf", "hnsw")
DTYPES = ("float32", "float16")
CHUNK = 512  # passages embedded between two marks of progress
_ADDED = 65_536  # passages added to FAISS at a time
_DECIMALS = 6  # of a score: float32's error differs with the batch a query came in
Progress = Callable[[int], None]


@dataclass(frozen=True)
class FaissConfig:
    """``index build``'s options of FAISS."""

    kind: str = "flat"
    dtype: str = "float32"  # of the vectors, in the array and in FAISS
    nlist: int = 0  # ivf: cells; 0: 4 sqrt(passages), but 39 passages a cell at least
    nprobe: int = 128  # ivf: cells a query looks into, or all of them if they are fewer
    links: int = 32  # hnsw: M
    ef_construction: int = 200
    ef_search: int = 128
    seed: int = 0  # of the sample that ivf's cells are trained on, and of their training

    def __post_init__(self) -> None:
        for option, value, choices in (("faiss", self.kind, KINDS), ("embedding-dtype", self.dtype, DTYPES)):
            if value not in choices:
                raise InputError(f"--{option} {value}: has to be one of {', '.join(choices)}")

    def cells(self, passages: int) -> int:
        """IVF's nlist for this many passages."""
        return self.nlist or max(1, min(round(4 * math.sqrt(passages)), passages // 39))

    def probes(self, passages: int) -> int:
        """IVF's nprobe for this many passages."""
        return min(self.cells(passages), self.nprobe)


class TextEncoder(Protocol):
    """Turns texts into unit vectors, [texts, dimension]."""

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        ...

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of queries."""
        ...

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of passages."""
        ...


def embed(store: PassageStore, encoder: TextEncoder, dtype: str, path: Path, start: int) -> Iterator[int]:
    """Write the vectors of the passages from row ``start`` on; gives the row up to which they are safe on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if start:
        vectors: NDArray[Any] = np.lib.format.open_memmap(path, mode="r+")
    else:
        vectors = create_array(path, dtype, (len(store), encoder.dimension))
    for first in range(start, len(store), CHUNK):
        end = min(first + CHUNK, len(store))
        vectors[first:end] = encoder.passages([store[row].contents for row in range(first, end)])
        flush(vectors)
        yield end


def build_faiss(folder: Path, config: FaissConfig, progress: Progress) -> None:
    """Write ``INDEX`` over ``EMBEDDINGS``."""
    import faiss

    vectors = np.load(folder / EMBEDDINGS, mmap_mode="r")
    index = _empty(config, *vectors.shape)
    if config.kind == "ivf":
        index.cp.seed = config.seed
        index.train(_sample(vectors, 256 * config.cells(len(vectors)), config.seed))
    for start in range(0, len(vectors), _ADDED):
        part = np.ascontiguousarray(vectors[start : start + _ADDED], np.float32)
        if not index.is_trained:  # half precision has nothing to learn, but asks for it
            index.train(part)
        index.add(part)
        progress(len(part))
    write_atomic(folder / INDEX, lambda path: faiss.write_index(index, str(path)))


def _empty(config: FaissConfig, passages: int, dimension: int) -> Any:
    import faiss

    storage = "Flat" if config.dtype == "float32" else "SQfp16"
    name = {
        "flat": storage,
        "ivf": f"IVF{config.cells(passages)},{storage}",
        "hnsw": f"HNSW{config.links},{storage}",
    }[config.kind]
    index: Any = faiss.index_factory(dimension, name, faiss.METRIC_INNER_PRODUCT)
    if config.kind == "hnsw":
        index.hnsw.efConstruction = config.ef_construction
    return index


def _sample(vectors: NDArray[np.generic], size: int, seed: int) -> NDArray[np.float32]:
    if size >= len(vectors):
        return np.ascontiguousarray(vectors, np.float32)
    rows = np.random.default_rng(seed).choice(len(vectors), size, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)], np.float32)


class DenseRanker:
    """Ranks by the inner product of unit vectors, rounded to six decimals; equal ones by row."""

    def __init__(self, folder: Path, config: FaissConfig, encoder: TextEncoder) -> None:
        import faiss

        # Flat vectors and IVF's lists stay in the file, shared by all processes; HNSW's graph is read into memory.
        flags = {"flat": faiss.IO_FLAG_MMAP_IFC, "ivf": faiss.IO_FLAG_MMAP, "hnsw": 0}[config.kind]
        index: Any = faiss.read_index(str(folder / INDEX), flags)
        if config.kind == "ivf":
            index.nprobe = config.probes(index.ntotal)
        if config.kind == "hnsw":
            index.hnsw.efSearch = config.ef_search
        self._index, self._encoder = index, encoder

    def rank(self, queries: Sequence[str], top_k: int) -> list[Ranking]:
        """As :class:`~tr_grpo.search.ranking.Ranker` says; a query matches every passage more or less."""
        asked = [number for number, query in enumerate(queries) if query.strip()]
        found = [NOTHING] * len(queries)
        if not asked:
            return found
        vectors = self._encoder.queries([queries[number] for number in asked])
        scores, rows = self._index.search(vectors, min(top_k, self._index.ntotal))
        for number, its_rows, its_scores in zip(asked, rows, scores, strict=True):
            there = its_rows >= 0  # -1 fills up where ivf or hnsw found fewer
            found[number] = ranking(its_rows[there], its_scores[there].astype(np.float64).round(_DECIMALS), top_k)
        return found
