"""Runs grouped into methods: the seeds of one method are one band."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tr_grpo.analysis.config_difference import Differences, Sorted, differences, sort
from tr_grpo.analysis.report.reading import Record

TOLD = 2
"""Most settings that a label names."""


@dataclass(frozen=True)
class Method:
    """Runs whose settings are the same but for seeds and for what changes no update."""

    label: str
    algo: str
    records: tuple[int, ...]
    """Places in the list of records."""


def difference(records: Sequence[Record]) -> Sorted:
    """The settings in which the runs that have a config differ, by run label."""
    known = {record.label: record.run.config for record in records if record.run.config}
    found = differences(known) if len(known) > 1 else {}
    return sort(found, {record.run.algo for record in records if record.run.config})


def group(records: Sequence[Record], found: Sorted) -> list[Method]:
    """The methods, ``grpo`` first, then in the order of the runs; a run without a config stands alone.

    Args:
        records: the runs.
        found: their :func:`difference`.
    """
    telling: Differences = found.method | found.other
    groups: dict[Any, list[int]] = {}
    for place, record in enumerate(records):
        own = (record.run.algo, *(repr(values[record.label]) for values in telling.values()))
        groups.setdefault(own if record.run.config else record.label, []).append(place)
    places = sorted(groups.values(), key=lambda members: (records[members[0]].run.algo != "grpo", members[0]))
    labels = _labels([records[members[0]] for members in places], telling)
    return [
        Method(label, records[members[0]].run.algo, tuple(members))
        for label, members in zip(labels, places, strict=True)
    ]


def _labels(firsts: Sequence[Record], telling: Differences) -> list[str]:
    """The algorithms' names; where two methods share one, the settings that tell them apart."""
    labels = [record.run.algo if record.run.config else record.label for record in firsts]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        same = [place for place, name in enumerate(labels) if name == label]
        for place in same:
            names = [firsts[other].label for other in same]
            own = firsts[place].label
            told = [key for key, values in telling.items() if any(values[name] != values[own] for name in names)]
            said = ", ".join(f"{key.rpartition('.')[2]}={str(telling[key][own])[:24]}" for key in told[:TOLD])
            labels[place] = f"{label} ({said})"
    return [f"{label} #{place + 1}" if labels.count(label) > 1 else label for place, label in enumerate(labels)]
