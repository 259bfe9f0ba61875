"""Corpora as streams of passages: JSONL (Search-R1's, FlashRAG's and wiki-18's layouts), parquet, DPR's TSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math.faults import Fault
from tr_grpo.data_prep.math.files import Record, records
from tr_grpo.data_prep.storage import sha256
from tr_grpo.search.passage import Passage

ON_BAD_ROW = ("stop", "skip")


@dataclass(frozen=True)
class CorpusConfig:
    """``index build``'s options of the corpus."""

    files: tuple[Path, ...]
    shard: tuple[int, int] = (0, 1)  # this one, of how many: passages i, i + n, i + 2n ...
    on_bad_row: str = "stop"

    def __post_init__(self) -> None:
        if self.on_bad_row not in ON_BAD_ROW:
            raise InputError(f"--on-bad-row {self.on_bad_row}: has to be one of {', '.join(ON_BAD_ROW)}")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise InputError(f"--shard {self.shard[0]}/{self.shard[1]}: has to be from 0/n to n-1/n")

    def described(self) -> dict[str, Any]:
        """For the manifest and the digest: no path, so that a moved file stays the same."""
        files = [{"file": file.name, "sha256": _digest(file)} for file in self.files]
        return {"files": files, "shard": list(self.shard), "on_bad_row": self.on_bad_row}


def _digest(file: Path) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); correct --corpus") from error


@dataclass(frozen=True, slots=True)
class Read:
    """One record of the corpus: its passage, or what is wrong with it."""

    file: int  # which of the input files
    record: Record
    passage: Passage | None
    fault: str = ""

    @property
    def place(self) -> str:
        """For messages: file and line."""
        return self.record.place


def passage_of(value: Any) -> Passage:
    """The passage of a record: ``id`` with ``contents``, or with ``text`` and perhaps ``title``. Raises Fault."""
    if not isinstance(value, dict):
        raise Fault(f"has to be an object with id and contents (or title and text), not {type(value).__name__}")
    id = value.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise Fault(f"`id` has to be a string or an integer, not {id!r}" if "id" in value else "has no `id`")
    for name in ("contents", "text", "title"):
        if not isinstance(value.get(name), str | None):
            raise Fault(f"`{name}` has to be a string, not {type(value[name]).__name__}")
    try:
        passage = Passage.of_wire(value)
        (passage.id + passage.title + passage.text).encode()
    except UnicodeEncodeError as error:
        raise Fault("holds half a surrogate pair (\\ud800 to \\udfff), which no text has") from error
    except ValueError as error:
        raise Fault(str(error)) from error
    if not passage.title.strip() and not passage.text.strip():
        raise Fault("has no text")
    return passage


def read_corpus(files: Sequence[Path]) -> Iterator[Read]:
    """Every record of the files in order; nothing but the record at hand is held. InputError: an unreadable file."""
    for file, path in enumerate(files):
        for record in records(path):
            if record.fault:
                yield Read(file, record, None, record.fault)
                continue
            try:
                yield Read(file, record, passage_of(record.value))
            except Fault as fault:
                yield Read(file, record, None, str(fault))


def refuse_bad(reads: Iterable[Read], on_bad_row: str) -> Iterator[Read]:
    """The same records; with ``stop`` the first bad one raises InputError, which names its file and line."""
    for read in reads:
        if read.passage is None and on_bad_row == "stop":
            raise InputError(f"{read.place}: {read.fault}; correct it, or pass --on-bad-row skip")
        yield read


def chunks(reads: Iterator[Read], size: int) -> Iterator[list[Read]]:
    """Lists of ``size`` records; the last may be shorter."""
    while chunk := list(islice(reads, size)):
        yield chunk
