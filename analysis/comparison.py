"""Methods compared over seeds: which runs are a pair, what they reached, and what the differences are worth.

A method is what the algo sets (``config_difference.py``); the first run's is the baseline. Two runs are a pair if all
their seeds are equal. Runs that differ in anything else are refused (formulas and reading: docs/compare.md).
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Any

from tr_grpo.analysis import paired
from tr_grpo.analysis.config_difference import LOSS, Differences, differences, sort, under
from tr_grpo.analysis.run_folder import Run
from tr_grpo.analysis.run_metrics import column
from tr_grpo.data_prep.errors import InputError

ACCURACY = re.compile(r"val-core/(.+)/acc/mean@(\d+)")


class At(StrEnum):
    """Which validations of a pair count; all are common to both runs, and none lies before training."""

    LAST = "last"
    BEST = "best"
    MEAN3 = "mean3"


@dataclass(frozen=True)
class Pair:
    """Two runs of equal seeds.

    Attributes:
        seeds: the seeds that tell the pairs apart, or ``data.seed``.
        folders: of the baseline's and of the method's run.
        steps: the common steps that count: one for ``last``, three for ``mean3``, all for ``best``.
        values: of the baseline and of the method, in the metric's unit.
    """

    seeds: Mapping[str, Any]
    folders: tuple[str, str]
    steps: tuple[int, ...]
    values: tuple[float, float]

    @property
    def difference(self) -> float:
        """Method minus baseline."""
        return self.values[1] - self.values[0]


@dataclass(frozen=True)
class Contrast:
    """One method against the baseline.

    Attributes:
        difference: over the pairs; None for a single one.
        needed: seeds to see such a difference (``paired.pairs_needed``); None where nothing can be said.
    """

    baseline: str
    method: str
    pairs: tuple[Pair, ...]
    difference: paired.Difference | None
    needed: int | None


@dataclass(frozen=True)
class Comparison:
    """What several runs say about methods.

    Attributes:
        metric: the key that is compared.
        at: which steps count.
        arms: the folders of each method, the baseline first.
        contrasts: each other method that has pairs with the baseline.
        allowed: settings that differ and were let pass.
        notes: what a reader has to know, one line each.
    """

    metric: str
    at: At
    arms: Mapping[str, tuple[str, ...]]
    contrasts: tuple[Contrast, ...]
    allowed: Differences
    notes: tuple[str, ...]


def compare_runs(
    runs: Sequence[Run], metric: str | None = None, at: At = At.LAST, allow: Sequence[str] = ()
) -> Comparison:
    """Compare the methods of ``runs``, pair by pair, with that of the first.

    Args:
        runs: at least two, each with its config.
        metric: a key of the metrics; None takes the validation accuracy that all runs have.
        at: which validations count.
        allow: keys, or prefixes of keys, in which the runs may differ beside the method. Where the method is one, the
            allowed keys that differ take its place.

    Raises:
        InputError: a run twice or without a config, settings that differ, two runs of one method and seed, no
            common metric, or no pair.
    """
    named = {str(run.folder): run for run in runs}
    if len(runs) < 2 or len({run.folder.resolve() for run in runs}) < len(runs):
        raise InputError(f"{', '.join(str(run.folder) for run in runs)}: name at least two runs, each once")
    for name, run in named.items():
        if not run.config:
            raise InputError(f"{name}: no config.yaml, so what it differs in is not known; copy it from the run")
    found = sort(differences({name: run.config for name, run in named.items()}), {run.algo for run in runs})
    refused = {key: values for key, values in found.other.items() if not under(key, allow)}
    if refused:
        raise InputError(refusal(refused))
    arms = _arms(named, found.method, found.other)
    key = metric or _accuracy(named)
    for name, run in named.items():
        if not column(run.metrics, key)[0]:
            raise InputError(f"{name}: no step has the metric {key}; choose one that all runs have with --metric")
    notes = [f"--allow {key}: the runs do not differ there" for key in allow if not _any_under(found.other, key)]
    contrasts = tuple(_contrasts(named, arms, found.seeds, key, at, notes))
    if len(arms) > 1 and not contrasts:
        raise InputError(f"no two runs of different methods are a pair: {'; '.join(notes)}")
    notes += _notes(named, arms, contrasts, at)
    return Comparison(key, at, arms, contrasts, found.other, tuple(notes))


def refusal(refused: Differences, what: str = "the runs differ in more than the method") -> str:
    """One line, and one for each key with its values."""
    lines = [f"{what}; let a key pass with --allow KEY ({len(refused)} differ)"]
    for key, values in refused.items():
        by_value = defaultdict(list)
        for name, value in values.items():
            by_value[_shown(value)].append(name)
        lines.append(f"{key}: " + "; ".join(f"{value} in {', '.join(names)}" for value, names in by_value.items()))
    return "\n       ".join(lines)


def problems_of(run: Run, metric: str, value: float) -> int | None:
    """How many validation problems are behind an accuracy; None where that cannot be told.

    It needs one answer a problem (``mean@1``), the data files still in place, and a ``value`` that is a whole number
    of them: verl drops prompts that are too long.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    match, files = ACCURACY.fullmatch(metric), run.value("data.val_files")
    paths = [Path(path) for path in ([files] if isinstance(files, str) else files or [])]
    if match is None or match[2] != "1" or not paths or run.value("data.val_max_samples") not in (None, -1):
        return None
    try:
        count = sum(pq.read_table(path, columns=["data_source"])[0].to_pylist().count(match[1]) for path in paths)
    except (OSError, pa.ArrowInvalid, KeyError):
        return None  # a run from another machine; the sentence does without
    return count if count and abs(value * count - round(value * count)) < 1e-3 else None


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)


def _any_under(found: Differences, prefix: str) -> bool:
    return any(under(key, [prefix]) for key in found)


def _arms(named: Mapping[str, Run], method: Differences, other: Differences) -> dict[str, tuple[str, ...]]:
    """Folders by method, in the order of the first run of each."""
    telling = method if method or len({run.algo for run in named.values()}) > 1 else other
    identity = {name: (run.algo, *(_shown(values[name]) for values in telling.values())) for name, run in named.items()}
    arms: dict[str, tuple[str, ...]] = {}
    for name in named:
        label = _label(identity[name], set(identity.values()), list(telling))
        arms[label] = (*arms.get(label, ()), name)
    return arms


def _label(own: tuple[str, ...], everyone: set[tuple[str, ...]], keys: Sequence[str]) -> str:
    """The algo, and where several variants of it are compared, the settings that tell them apart."""
    variants = [other for other in everyone if other[0] == own[0]]
    telling = [i for i in range(len(keys)) if len({variant[i + 1] for variant in variants}) > 1]
    settings = ", ".join(f"{keys[i].rpartition('.')[2]}={own[i + 1]}" for i in telling)
    return f"{own[0]} ({settings})" if settings else own[0]


def _accuracy(named: Mapping[str, Run]) -> str:
    keys = [{key for metrics in run.metrics.values() for key in metrics} for run in named.values()]
    common = sorted(key for key in set.intersection(*keys) if ACCURACY.fullmatch(key))
    if len(common) == 1:
        return common[0]
    if common:
        raise InputError(f"the runs have {len(common)} validation accuracies; choose: --metric {' | '.join(common)}")
    without = [name for name, own in zip(named, keys, strict=True) if not any(map(ACCURACY.fullmatch, own))]
    raise InputError(f"{', '.join(without) or ', '.join(named)}: no common val-core/…/acc/mean@N; choose a --metric")


def _contrasts(
    named: Mapping[str, Run],
    arms: Mapping[str, tuple[str, ...]],
    seeds: Differences,
    metric: str,
    at: At,
    notes: list[str],
) -> list[Contrast]:
    keys = list(seeds) or ["data.seed"]
    by_seed: dict[str, dict[str, str]] = {}
    for label, names in arms.items():
        by_seed[label] = {}
        for name in names:
            identity = ", ".join(f"{key}={_shown(named[name].value(key))}" for key in keys)
            twin = by_seed[label].setdefault(identity, name)
            if twin != name:
                raise InputError(f"{twin} and {name}: both are {label} with {identity}; name one of them")
    baseline, *others = arms
    contrasts = []
    for label in others:
        pairs = []
        for identity in {**by_seed[baseline], **by_seed[label]}:
            first, second = by_seed[baseline].get(identity), by_seed[label].get(identity)
            if first is None or second is None:
                lacking = baseline if first is None else label
                notes.append(f"{first or second}: left out, {lacking} has no run with {identity}")
                continue
            own = {key: named[first].value(key) for key in keys}
            pair = _pair(named[first], named[second], own, metric, at, notes)
            pairs += [pair] if pair else []
        if pairs:
            contrasts.append(_contrast(baseline, label, tuple(pairs)))
    return contrasts


def _pair(first: Run, second: Run, seeds: dict[str, Any], metric: str, at: At, notes: list[str]) -> Pair | None:
    columns = [dict(zip(*column(run.metrics, metric), strict=True)) for run in (first, second)]
    steps = sorted(step for step in columns[0].keys() & columns[1].keys() if step > 0)
    who = f"{first.folder} and {second.folder}"
    wanted = 3 if at is At.MEAN3 else 1
    if len(steps) < wanted:
        notes.append(f"{who}: left out, {len(steps)} common steps with {metric} after training began, not {wanted}")
        return None
    ends = [max(values) for values in columns]
    if ends[0] != ends[1]:
        notes.append(f"{who}: measured up to step {ends[0]} and {ends[1]}, compared up to {steps[-1]}")
    chosen = steps if at is At.BEST else steps[-wanted:]
    values = [[own[step] for step in chosen] for own in columns]
    for run, own in zip((first, second), values, strict=True):
        if not all(map(isfinite, own)):
            raise InputError(f"{run.folder}: {metric} is not a number at one of the steps {chosen}; leave the run out")
    best = at is At.BEST
    reached = (max(own) if best else sum(own) / len(own) for own in values)
    return Pair(seeds, (str(first.folder), str(second.folder)), tuple(chosen), (next(reached), next(reached)))


def _contrast(baseline: str, method: str, pairs: tuple[Pair, ...]) -> Contrast:
    if len(pairs) < 2:
        return Contrast(baseline, method, pairs, None, None)
    difference = paired.compare([pair.values[1] for pair in pairs], [pair.values[0] for pair in pairs])
    return Contrast(baseline, method, pairs, difference, paired.pairs_needed([pair.difference for pair in pairs]))


def _notes(
    named: Mapping[str, Run], arms: Mapping[str, tuple[str, ...]], contrasts: Sequence[Contrast], at: At
) -> list[str]:
    notes = [problem for run in named.values() for problem in run.problems] + _versions(named)
    for label, names in arms.items():
        weighted = [name for name in names if named[name].value(f"{LOSS}.loss_mode") == "tr_grpo"]
        informative = [column(named[name].metrics, "actor/tr/informative")[1] for name in weighted]
        if any(informative) and not any(any(values) for values in informative):
            notes.append(
                f"{label}: actor/tr/informative is 0 in every step of its runs: the weight is nearly one constant, so "
                "nothing but its size separates the method from one without it"
            )
    if len(contrasts) > 1:
        notes.append(f"{len(contrasts)} methods are compared with the baseline; no p is corrected for that")
    if any(len(contrast.pairs) in range(2, paired.FEW) for contrast in contrasts):
        notes.append(
            "a percentile interval of fewer than 5 pairs is too narrow (of 5 to 7 a nominal 95 % covers about 83 to "
            "88 %); Student's interval allows for the number"
        )
    if at is At.BEST:
        notes.append(
            "best is chosen on the validation problems themselves: each value is too high, the noisier the more"
        )
    return notes


def _versions(named: Mapping[str, Run]) -> list[str]:
    """What of the last starts' versions and commits differs: a config does not tell."""
    known = {name: run.starts[-1] for name, run in named.items() if run.starts}
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, start in known.items():
        commit = start.code.get("commit")
        for what, version in {**start.versions, **({"commit": str(commit)[:12]} if commit else {})}.items():
            found[what][name] = version
    return [
        f"the runs differ in {what}: {', '.join(f'{version} in {name}' for name, version in versions.items())}"
        for what, versions in sorted(found.items())
        if len(set(versions.values())) > 1
    ]
