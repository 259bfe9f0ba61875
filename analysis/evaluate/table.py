"""What the samples come to: for each set, its parts, all problems together and the mean of the sets.

A pure function of the samples: the same samples, in whatever parts and order, give the same numbers to the last bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tr_grpo.analysis.evaluate.samples import Sample
from tr_grpo.analysis.statistics import (
    Floats,
    avg_at_k,
    majority_at_k,
    pass_at_k,
    percentile_interval,
    resampled_means,
    wilson,
)
from tr_grpo.reward.verdict import Verdict

SEED = 0
"""Of the bootstrap; the same for every evaluation, so that two tables of the same samples agree."""


@dataclass(frozen=True)
class Estimate:
    """A share or a mean, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One line of the table. ``None``: there is nothing to estimate it from."""

    name: str
    part: str
    """Of a set; empty in a set's own line."""
    problems: int
    samples: int
    """Drawn at temperature; the greedy ones are not among them."""
    unscored: int
    """Of all samples: those whose judging or search failed. They are in no other column."""
    greedy: Estimate | None
    avg: Estimate | None
    passes: dict[int, Estimate] = field(default_factory=dict)
    majorities: dict[int, Estimate] = field(default_factory=dict)
    verdicts: dict[str, Estimate] = field(default_factory=dict)
    truncated: Estimate | None = None
    tokens: float | None = None
    """Mean length of a response."""
    sole: str = ""
    """The part that all its problems are of, where there is but one: it has no line of its own."""


@dataclass(frozen=True)
class Table:
    """The lines, and what they are of."""

    lines: tuple[Line, ...]
    """The sets, each followed by its parts."""
    overall: Line
    """All problems, each with the same weight."""
    mean: Line | None
    """The mean of ``averaged``, each with the same weight, as the papers print it; None for a single set."""
    averaged: tuple[str, ...]
    ks: tuple[int, ...]
    samples: int
    expected: int
    """Samples, greedy ones among them, when the evaluation is finished."""
    present: int
    record: dict[str, Any]

    @property
    def unscored(self) -> int:
        """How many samples say nothing about the policy."""
        return self.overall.unscored


def default_ks(samples: int) -> tuple[int, ...]:
    """2, 4, 8, … up to the number of samples; pass@1 is avg."""
    return tuple(2**power for power in range(1, samples.bit_length()) if 2**power <= samples)


def summarise(samples: Sequence[Sample], record: dict[str, Any], problems: int, ks: Sequence[int] = ()) -> Table:
    """The table of an evaluation.

    Args:
        samples: as ``SampleFolder.read`` gives them.
        record: ``evaluation.json``.
        problems: how many the evaluation has.
        ks: of pass@k and maj@k, each at most the number of samples; by default powers of 2.
    """
    plan = record["sampling"]
    chosen = tuple(ks) or default_ks(plan["samples"])
    measured = measure(samples, chosen)
    sets: defaultdict[str, list[Sample]] = defaultdict(list)
    parts: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        sets[sample.data_source].append(sample)
        parts[sample.data_source, sample.part].append(sample)
    lines: list[Line] = []
    inner: dict[tuple[str, str], Group] = {}
    outer: dict[tuple[str, str], Group] = {}
    for name in sorted(sets):
        own = sorted((part for source, part in parts if source == name and part), key=_natural)
        outer[name, ""] = Group(sets[name], measured, chosen)
        sole = own[0] if len(own) == 1 else ""
        lines.append(replace(outer[name, ""].line(name), sole=sole))
        for part in own if len(own) > 1 else []:
            inner[name, part] = Group(parts[name, part], measured, chosen)
            lines.append(inner[name, part].line(name, part))
    averaged = outer if len(outer) > 1 else inner
    return Table(
        lines=tuple(lines),
        overall=Group(list(samples), measured, chosen).line("all problems"),
        mean=mean_of(list(averaged.values()), chosen) if len(averaged) > 1 else None,
        averaged=tuple(part or name for name, part in averaged),
        ks=chosen,
        samples=plan["samples"],
        expected=problems * (plan["samples"] + plan["greedy"]),
        present=len(samples),
        record=record,
    )


def _natural(part: str) -> tuple[str, float, str]:
    """``people 10`` after ``people 9``."""
    name, _, value = part.partition(" ")
    return (name, float(value), "") if value.replace(".", "", 1).isdecimal() else (name, float("inf"), value)


class Group:
    """Some problems' samples as a table of numbers, one row a problem: the bootstrap draws rows."""

    def __init__(self, samples: Sequence[Sample], measured: Mapping[str, list[float]], ks: Sequence[int]) -> None:
        self.ks = ks
        self.all = samples
        self.scored = [sample for sample in samples if sample.scored]
        self.drawn = [sample for sample in self.scored if not sample.greedy]
        self.best = [sample for sample in self.scored if sample.greedy]
        # In the order of names: the bootstrap's draws must not depend on the order of the parts.
        self.values = np.array([measured[name] for name in sorted({sample.problem for sample in self.drawn})])

    def line(self, name: str, part: str = "") -> Line:
        """The group's line."""
        estimates: list[Estimate | None] = [None] * (1 + 2 * len(self.ks))
        if len(self.values):
            low, high = percentile_interval(self.resampled(0))
            estimates = _estimates(_nanmean(self.values), low, high)
        judged = self.drawn or self.best
        counts = {verdict: sum(sample.verdict == verdict for sample in judged) for verdict in Verdict}
        return Line(
            name=name,
            part=part,
            problems=len({sample.problem for sample in self.all}),
            samples=sum(not sample.greedy for sample in self.all),
            unscored=len(self.all) - len(self.scored),
            greedy=_share(sum(sample.right for sample in self.best), len(self.best)),
            avg=estimates[0],
            **_at_k(estimates, self.ks),
            verdicts={str(verdict): share for verdict, n in counts.items() if (share := _share(n, len(judged)))},
            truncated=_share(sum(sample.truncated for sample in judged), len(judged)),
            tokens=float(np.mean([sample.tokens for sample in judged])) if judged else None,
        )

    def resampled(self, number: int) -> Floats:
        """(resamples, measures). number: of the group, where several are drawn from at the same time."""
        return resampled_means(self.values, (SEED, number))


def mean_of(groups: Sequence[Group], ks: Sequence[int]) -> Line:
    """The mean of the groups' values; its interval from resampling the problems within each group.

    The greedy accuracy's too is a bootstrap: Wilson's interval is of a share, not of a mean of shares.
    """
    full = [group for group in groups if len(group.values)]
    estimates: list[Estimate | None] = [None] * (1 + 2 * len(ks))
    if len(full) == len(groups):
        means = np.mean([group.resampled(i) for i, group in enumerate(groups)], axis=0)
        value = np.mean([_nanmean(group.values) for group in groups], axis=0)
        estimates = _estimates(value, *percentile_interval(means))
    greedy = None
    if all(group.best for group in groups):
        columns = [np.array([[s.right] for s in sorted(g.best, key=lambda s: s.problem)], float) for g in groups]
        means = np.mean([resampled_means(column, (SEED, i)) for i, column in enumerate(columns)], axis=0)
        (greedy,) = _estimates(np.array([np.mean([column.mean() for column in columns])]), *percentile_interval(means))
    everything = [sample for group in groups for sample in group.all]
    return Line(
        name=f"mean of {len(groups)}",
        part="",
        problems=len({sample.problem for sample in everything}),
        samples=sum(not sample.greedy for sample in everything),
        unscored=sum(not sample.scored for sample in everything),
        greedy=greedy,
        avg=estimates[0],
        **_at_k(estimates, ks),
    )


def measure(samples: Sequence[Sample], ks: Sequence[int]) -> dict[str, list[float]]:
    """avg, then pass@k and maj@k for each k, of each problem with a scored sample."""
    by_problem: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.scored and not sample.greedy:
            by_problem[sample.problem].append(sample)
    return {problem: _measures(own, ks) for problem, own in by_problem.items()}


def _measures(samples: Sequence[Sample], ks: Sequence[int]) -> list[float]:
    """Of one problem; NaN where too few of its samples are scored."""
    n, right = len(samples), [sample.right for sample in samples]
    answers = [sample.answer for sample in samples]
    passes = [float(pass_at_k(n, sum(right), k)) if n >= k else np.nan for k in ks]
    majorities = [majority_at_k(answers, right, k) if n >= k else np.nan for k in ks]
    return [float(avg_at_k(n, sum(right))), *passes, *majorities]


def _nanmean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
    return mean


def _estimates(values: Floats, low: Floats, high: Floats) -> list[Estimate | None]:
    return [
        None if np.isnan(value) else Estimate(float(value), float(below), float(above))
        for value, below, above in zip(values, low, high, strict=True)
    ]


def _at_k(estimates: Sequence[Estimate | None], ks: Sequence[int]) -> dict[str, Any]:
    passes = {k: e for k, e in zip(ks, estimates[1 : 1 + len(ks)], strict=True) if e is not None}
    majorities = {k: e for k, e in zip(ks, estimates[1 + len(ks) :], strict=True) if e is not None}
    return {"passes": passes, "majorities": majorities}


def _share(right: int, count: int) -> Estimate | None:
    return Estimate(right / count, *wilson(right, count)) if count else None
