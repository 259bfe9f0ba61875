"""The samples on disk: small parquet files, each whole or absent, which an interrupted evaluation goes on from."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import write_atomic
from tr_grpo.reward.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

PART = re.compile(r"part-(\d{4})-\d{3}-\d{6}\.parquet")
TEMPORARY = re.compile(r"\.part-.*\.tmp")
FLUSH_SAMPLES = 64
FLUSH_SECONDS = 2.0

Key = tuple[str, int, bool]
"""Problem, number of the sample, whether it is the greedy one."""


@dataclass(frozen=True)
class Sample:
    """One judged response."""

    problem: str
    data_source: str
    part: str
    sample: int
    """From 0; the greedy one is 0 too."""
    greedy: bool
    response: str
    """As the scorer read it: special tokens left out."""
    prompt_tokens: int
    tokens: int
    """Of the response; what a search engine wrote counts."""
    truncated: bool
    verdict: str
    """``error`` where the scorer raised, or judging failed."""
    score: float | None
    """The training's reward; null where the scorer raised."""
    format_ok: bool
    answer: str | None
    """What the scorer read, in its normal form."""
    failed_searches: int
    measures: str
    """JSON: the scorer's grades and its measures of the trajectory."""
    trajectory: str | None
    """JSON of reward/trajectory.py, for agent loops that tell of it."""
    reason: str
    """Why it is not right, or what the scorer raised."""
    seconds: float
    """From the request to the judgement."""

    @property
    def key(self) -> Key:
        """What tells the samples of an evaluation apart."""
        return self.problem, self.sample, self.greedy

    @property
    def right(self) -> bool:
        """The scorer's verdict."""
        return self.verdict == Verdict.RIGHT

    @property
    def scored(self) -> bool:
        """False where it says nothing about the policy: judging or a search failed."""
        return self.verdict != Verdict.ERROR and self.failed_searches == 0


HEAVY = ("response", "trajectory", "measures", "reason")
"""Columns that a table does not need."""


def schema() -> pa.Schema:
    """Of a part."""
    import pyarrow as pa

    types = {
        "str": pa.string(),
        "str | None": pa.string(),
        "int": pa.int64(),
        "bool": pa.bool_(),
        "float": pa.float64(),
        "float | None": pa.float64(),
    }
    return pa.schema([(field.name, types[str(field.type)]) for field in fields(Sample)])


@dataclass(frozen=True)
class SampleFolder:
    """``samples/`` of an evaluation."""

    path: Path

    def parts(self) -> list[Path]:
        """In the order in which they were written, by start. InputError: a file that is none of ours."""
        found = []
        for entry in sorted(self.path.iterdir()) if self.path.is_dir() else []:
            if PART.fullmatch(entry.name):
                found.append(entry)
            elif not TEMPORARY.fullmatch(entry.name):
                raise InputError(f"{entry}: not written by `tr-grpo evaluate`; move it away or choose another --out")
        return found

    def next_start(self) -> int:
        """The number of the coming start: its parts come after all that are there."""
        numbers = [int(match[1]) for part in self.parts() if (match := PART.fullmatch(part.name))]
        return max(numbers, default=0) + 1

    def read(self, light: bool = True) -> list[Sample]:
        """Every sample once, the latest where there are several, ordered by key.

        light: leave the long texts out. InputError: a part that cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        latest: dict[Key, Sample] = {}
        columns = [name for name in schema().names if not light or name not in HEAVY]
        absent: dict[str, Any] = dict.fromkeys(HEAVY, "") if light else {}
        for part in self.parts():
            try:
                rows = pq.read_table(part, columns=columns).to_pylist()
                samples = [Sample(**row, **absent) for row in rows]
            except (pa.ArrowException, OSError, TypeError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"{part}: not a part of samples ({reason}); delete it, and they are made again"
                ) from error
            latest |= {sample.key: sample for sample in samples}
        return [latest[key] for key in sorted(latest)]

    def done(self) -> set[Key]:
        """The samples that need not be made again: all that are scored."""
        return {sample.key for sample in self.read() if sample.scored}

    def clean(self) -> None:
        """Remove what a killed process had begun to write. Only while nobody writes."""
        for entry in list(self.path.iterdir()):
            if TEMPORARY.fullmatch(entry.name):
                entry.unlink()


class SampleWriter:
    """Collects one process's samples and writes a part every two seconds or 64 samples, whichever comes first."""

    def __init__(self, folder: SampleFolder, start: int, rank: int) -> None:
        self._folder, self._start, self._rank = folder, start, rank
        self._waiting: list[Sample] = []
        self._written = 0
        self._since = time.monotonic()

    def add(self, sample: Sample) -> None:
        """One more; InputError if the disk does not take it."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(sample)
        if len(self._waiting) >= FLUSH_SAMPLES:
            self.flush()

    def flush_if_due(self) -> None:
        """Write what has waited for two seconds."""
        if self._waiting and time.monotonic() - self._since >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if self._waiting:
            name = f"part-{self._start:04d}-{self._rank:03d}-{self._written:06d}.parquet"
            write_part(self._folder.path / name, self._waiting)
            self._waiting, self._written = [], self._written + 1


def write_part(path: Path, samples: Sequence[Sample]) -> None:
    """One file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(sample) for sample in samples], schema=schema())
    write_atomic(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def unscored(samples: Iterable[Sample]) -> int:
    """How many say nothing about the policy."""
    return sum(not sample.scored for sample in samples)
