"""The first stage of a build: read the corpus once; store this shard's passages, count words, list bad records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.corpus import BYTES, OFFSETS, Appender, PassageWriter
from tr_grpo.search.postings import Bm25Config, PostingsWriter
from tr_grpo.search.progress import BuildState, Show
from tr_grpo.search.reading import CorpusConfig, Read, chunks, read_corpus, refuse_bad

CHUNK = 20_000
"""Records between two marks of progress."""
DROPPED = "dropped.jsonl"
POSTINGS = "postings"
IDS, PLACES = "ids", "places"


def gather(
    corpus: CorpusConfig,
    bm25: Bm25Config | None,
    work: Path,
    state: BuildState,
    save: Callable[[], None],
    show: Show,
) -> None:
    """Fill ``work`` from ``state`` on, which is brought up to date and saved after every chunk.

    InputError: a bad record where ``on_bad_row`` is ``stop``, an id that two passages have, no passage at all.
    """
    reads = islice(refuse_bad(read_corpus(corpus.files), corpus.on_bad_row), state.records, None)
    show("passages", state.records, None)
    with _Sinks(work, bm25, state) as sinks:
        for part in chunks(reads, CHUNK):
            sinks.add(part, *corpus.shard)
            save()
            show("passages", len(part), None)
    _refuse_repeated_ids(corpus.files, work)
    if not state.skipped:
        (work / DROPPED).unlink(missing_ok=True)
    if not state.stored:
        reason = f"no passage of shard {corpus.shard[0]}/{corpus.shard[1]}" if state.rows else "no passage"
        raise InputError(f"{', '.join(map(str, corpus.files))}: {reason} in it; correct --corpus")


class _Sinks:
    """Where the records of a chunk go; each call of ``add`` ends with everything on disk."""

    def __init__(self, work: Path, bm25: Bm25Config | None, state: BuildState) -> None:
        sizes = state.sizes
        self._state = state
        self._store = PassageWriter(work, sizes.get(BYTES, 0), sizes.get(OFFSETS, 0))
        self._logs = {name: Appender(work / name, sizes.get(name, 0)) for name in (IDS, PLACES, DROPPED)}
        self._words = None if bm25 is None else PostingsWriter(work / POSTINGS, bm25, state.chunks)

    def __enter__(self) -> _Sinks:
        return self

    def __exit__(self, *error: object) -> None:
        self._store.close()
        for log in self._logs.values():
            log.close()

    def add(self, part: list[Read], shard: int, of: int) -> None:
        """Store the chunk and bring ``state`` up to date."""
        state = self._state
        good = [(read, read.passage) for read in part if read.passage is not None]
        rows = np.arange(state.rows, state.rows + len(good))
        own = rows % of == shard
        kept = [passage for (_, passage), mine in zip(good, own.tolist(), strict=True) if mine]
        self._store.extend(kept)
        if self._words is not None:
            self._words.add([passage.contents for _, passage in good], np.where(own, rows // of, -1).tolist())
        ids = (blake2b(passage.id.encode(), digest_size=16).digest() for _, passage in good)
        self._logs[IDS].write(b"".join(ids))
        self._logs[PLACES].write(np.array([(read.file, read.record.number) for read, _ in good], "<i8").tobytes())
        bad = [read for read in part if read.passage is None]
        self._logs[DROPPED].write(b"".join(map(_listed, bad)))
        state.records += len(part)
        state.rows += len(good)
        state.stored += len(kept)
        state.skipped += len(bad)
        state.chunks += 1
        state.sizes[BYTES], state.sizes[OFFSETS] = self._store.flush()
        for name, log in self._logs.items():
            state.sizes[name] = log.flush()


def _listed(read: Read) -> bytes:
    entry = {"file": read.record.file, read.record.unit: read.record.number, "fault": read.fault}
    return (json.dumps(entry) + "\n").encode()


def _refuse_repeated_ids(files: Sequence[Path], work: Path) -> None:
    """InputError naming two places with one id. Ids are compared by 16 bytes of BLAKE2: 16 bytes a passage."""
    ids = np.fromfile(work / IDS, "<u8").reshape(-1, 2)
    order = np.lexsort((ids[:, 1], ids[:, 0]))  # stable: equal ids stay in the order of the corpus
    ordered = ids[order]
    repeats = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
    if not len(repeats):
        return
    first = repeats[np.argmin(order[repeats + 1])]
    places = np.fromfile(work / PLACES, "<i8").reshape(-1, 2)
    here, there = (places[order[at]].tolist() for at in (first, first + 1))
    names = [f"{files[file]}: {'row' if _is_table(files[file]) else 'line'} {number}" for file, number in (here, there)]
    more = f" ({len(repeats)} ids are repeated in all)" if len(repeats) > 1 else ""
    raise InputError(f"{names[1]}: has the same id as {names[0]}{more}; give every passage an id of its own")


def _is_table(file: Path) -> bool:
    from tr_grpo.data_prep.math.files import format_of

    return format_of(file) in ("parquet", "json")
