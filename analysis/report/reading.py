"""Runs as the report needs them: the folder's facts and the columns that are shown, without the rest of the metrics."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tr_grpo.analysis.report.curves import is_shown
from tr_grpo.analysis.run_folder import Run, open_run
from tr_grpo.data_prep.errors import InputError

TAIL = 1 << 16
"""Bytes from a file's end that are looked at; the search goes back further where a line is longer."""


@dataclass(frozen=True)
class Column:
    """One metric of one run: ``steps`` (n,) int and ``values`` (n,) float64, finite, in the order of the steps."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        run: the folder's facts; its ``metrics`` are empty, so that ten long runs fit into memory.
        label: the folder's name, with as much of its path as tells it from the others.
        columns: by metric key, those that the report shows.
        first, last: steps with metrics; None where no step was finished.
        problems: one line for each thing that is not there or not right.
    """

    run: Run
    label: str
    columns: dict[str, Column]
    first: int | None
    last: int | None
    problems: tuple[str, ...]


def read_records(folders: Sequence[Path]) -> list[Record]:
    """Read runs one after the other.

    Raises:
        InputError: no folder, one that is named twice, or one that is no run.
    """
    if not folders:
        raise InputError("no run is named; give one or more run folders")
    places: set[Path] = set()
    for folder in folders:
        if folder.resolve() in places:
            raise InputError(f"{folder}: named twice; name each run once")
        places.add(folder.resolve())
    return [_record(open_run(folder), label) for folder, label in zip(folders, labels(folders), strict=True)]


def labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths, in whole parts, that tell the folders apart."""
    parts = [folder.resolve().parts for folder in folders]
    longest = max(map(len, parts))
    for count in range(1, longest + 1):
        ends = ["/".join(names[-count:]) for names in parts]
        if len(set(ends)) == len(ends):
            return ends
    return [str(folder) for folder in folders]


def _record(run: Run, label: str) -> Record:
    columns, problems = _columns(run)
    steps = list(run.metrics)
    return Record(
        run=replace(run, metrics={}),
        label=label,
        columns=columns,
        first=steps[0] if steps else None,
        last=steps[-1] if steps else None,
        problems=(*run.problems, *cut_lines(run.folder), *problems),
    )


def cut_lines(folder: Path) -> list[str]:
    """What to say of each metrics file whose last line was cut short by a kill."""
    return [line for path in sorted(folder.glob("metrics-*.jsonl")) if (line := cut_line(path))]


def cut_line(path: Path) -> str | None:
    """What to say of a metrics file whose last line was cut short by a kill; None where it is whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if not size:
            return None
        reach = TAIL
        while True:
            file.seek(max(0, size - reach))
            tail = file.read()
            if b"\n" in tail or reach >= size:
                break
            reach *= 4
    last = tail.rpartition(b"\n")[2]
    if not last:
        return None
    try:
        json.loads(last)
    except ValueError:
        return f"{path}: its last line was cut short; the step that it was of is left out"
    return None


def _columns(run: Run) -> tuple[dict[str, Column], list[str]]:
    found: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    bad: dict[str, list[int]] = defaultdict(list)
    shown: dict[str, bool] = {}
    for step, metrics in run.metrics.items():
        for key, value in metrics.items():
            if key not in shown:
                shown[key] = is_shown(key)
            if not shown[key]:
                continue
            if not _is_number(value):
                bad[key].append(step)
                continue
            steps, values = found[key]
            steps.append(step)
            values.append(value)
    problems = [
        f"{run.folder}: {key} is no finite number at step {steps[0]}"
        + (f" and {len(steps) - 1} others" if len(steps) > 1 else "")
        + "; left out of its curve"
        for key, steps in bad.items()
    ]
    return {
        key: Column(np.array(s, dtype=np.int64), np.array(v, dtype=float)) for key, (s, v) in found.items()
    }, problems


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
