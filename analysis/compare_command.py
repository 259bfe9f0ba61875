"""``tr-grpo compare``: methods over seeds, or two evaluations, as text, Markdown or JSON, with a plain sentence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tr_grpo.analysis import paired
from tr_grpo.analysis.comparison import At, Comparison, Contrast, compare_runs, problems_of
from tr_grpo.analysis.evaluation_comparison import compare_evaluations, is_evaluation
from tr_grpo.analysis.run_folder import Run, open_run
from tr_grpo.analysis.terminal import visible
from tr_grpo.data_prep.errors import InputError


class Format(StrEnum):
    """How the comparison is printed."""

    TEXT = "text"
    MD = "md"
    JSON = "json"


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or two evaluations; the first is the baseline.")],
    metric: Annotated[str | None, typer.Option(help="Key to compare; by default the validation accuracy.")] = None,
    at: Annotated[At, typer.Option(help="Which common validations count.")] = At.LAST,
    allow: Annotated[list[str] | None, typer.Option(help="A key, or prefix, that may differ; repeatable.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
) -> None:
    """Compare methods over seeds: paired differences, interval, test, and the seeds that such a difference needs."""
    if any(map(is_evaluation, runs)):
        if metric is not None or at is not At.LAST:
            raise InputError("--metric and --at are for runs; of evaluations the accuracy is compared")
        evaluations = compare_evaluations(runs, allow or ())
        as_json_text = json.dumps(evaluations.as_json(), indent=2)
        shown = as_json_text if output is Format.JSON else visible(evaluations.text(output is Format.MD))
        return typer.echo(shown)
    opened = [open_run(folder) for folder in runs]
    comparison = compare_runs(opened, metric, at, allow or ())
    named = {str(run.folder): run for run in opened}
    if output is Format.JSON:
        typer.echo(json.dumps(as_json(comparison, named), indent=2))
    else:
        typer.echo(visible(as_text(comparison, named, markdown=output is Format.MD)))


def as_json(comparison: Comparison, named: Mapping[str, Run]) -> dict[str, Any]:
    """Everything that the text says, as numbers, with the sentences."""
    contrasts = []
    for contrast in comparison.contrasts:
        own = asdict(contrast)
        for pair, content in zip(contrast.pairs, own["pairs"], strict=True):
            content["difference"] = pair.difference
        own["smallest_p"] = paired.smallest_p(len(contrast.pairs))
        own["t_interval"] = _student([pair.difference for pair in contrast.pairs])
        own["sentence"] = sentence(contrast, comparison.metric, named)
        contrasts.append(own)
    return asdict(comparison) | {"contrasts": contrasts}


def as_text(comparison: Comparison, named: Mapping[str, Run], markdown: bool = False) -> str:
    """The tables, the sentences and the notes."""
    lines = [f"{comparison.metric}, {_which(comparison.at)}"]
    if comparison.allowed:
        lines.append(f"differs beside the method, allowed: {', '.join(comparison.allowed)}")
    for contrast in comparison.contrasts:
        lines += ["", *_tables(contrast, comparison, markdown), "", sentence(contrast, comparison.metric, named)]
    if not comparison.contrasts:
        lines += ["", _one_method(comparison, named)]
    bullet = "- " if markdown else "note: "
    return "\n".join([*lines, *([""] if comparison.notes else []), *(bullet + note for note in comparison.notes)])


def sentence(contrast: Contrast, metric: str, named: Mapping[str, Run]) -> str:
    """What may be said of a method, with the numbers that it rests on."""
    if contrast.difference is None:
        return _one_pair(contrast, metric, named)
    found, count = contrast.difference, len(contrast.pairs)
    amounts = f"95 % interval {_amount(found.low, metric, signed=True)} to {_amount(found.high, metric, signed=True)}"
    low, high = paired.t_interval([pair.difference for pair in contrast.pairs])
    student = f"Student's {_amount(low, metric, signed=True)} to {_amount(high, metric, signed=True)}"
    tested = f"sign-flip p = {found.p:.3g}, the smallest that {count} pairs can give is {paired.smallest_p(count):.2g}"
    if found.mean == 0:
        said = f"{contrast.method} equals {contrast.baseline} in the mean of {count} seeds"
    else:
        said = f"{contrast.method} is {_more(found.mean, metric)} than {contrast.baseline} on {count} seeds"
    return f"{said} ({amounts}, {student}; {tested}). {_worth(found)} {_needed(contrast)}"


def _worth(found: paired.Difference) -> str:
    if found.low <= 0 <= found.high:
        return "The interval holds 0: these runs do not show a difference."
    if found.p > paired.LEVEL:
        return f"The interval leaves out 0, the test does not reject that the difference is 0 at {paired.LEVEL:.0%}."
    return f"The interval leaves out 0, and the test rejects that the difference is 0 at {paired.LEVEL:.0%}."


def _needed(contrast: Contrast) -> str:
    if contrast.needed is None:
        return f"So small a difference takes more than {paired.MOST_PAIRS:,} seeds to see."
    return (
        f"If the true difference and its spread were these, a paired t-test would see it at {paired.LEVEL:.0%} with a "
        f"power of {paired.POWER:.0%} from {contrast.needed} seeds on."
    )


def _one_pair(contrast: Contrast, metric: str, named: Mapping[str, Run]) -> str:
    (pair,) = contrast.pairs
    said = "One seed each: no statement about the method is possible."
    shown = " and ".join(_amount(value, metric) for value in pair.values)
    if pair.difference == 0:
        said += f" Both runs have {_amount(pair.values[0], metric)}."
    else:
        said += f" This run of {contrast.method} is {_more(pair.difference, metric)} than that of {contrast.baseline}"
        said += f" ({contrast.baseline} and {contrast.method}: {shown})."
    counts = [
        problems_of(named[name], metric, value) if len(pair.steps) == 1 else None
        for name, value in zip(pair.folders, pair.values, strict=True)
    ]
    if counts[0] is None or counts[0] != counts[1]:
        return said
    from tr_grpo.analysis.statistics import wilson

    ends = [wilson(round(value * counts[0]), counts[0]) for value in pair.values]
    intervals = " and ".join(f"{_amount(low, metric)} to {_amount(high, metric)}" for low, high in ends)
    return f"{said} Over the {counts[0]} test problems alone, Wilson's 95 % intervals are {intervals}."


def _one_method(comparison: Comparison, named: Mapping[str, Run]) -> str:
    """Seeds of one method: nothing is compared, its mean is still of use."""
    ((label, names),) = comparison.arms.items()
    last = []
    for name in names:
        steps = [step for step, metrics in named[name].metrics.items() if comparison.metric in metrics]
        last.append(named[name].metrics[steps[-1]][comparison.metric])
    mean = _amount(sum(last) / len(last), comparison.metric)
    interval = _interval(last, comparison.metric)
    return f"All {len(names)} runs are {label}: nothing is compared. Their last values have the mean {mean} {interval}."


def _tables(contrast: Contrast, comparison: Comparison, markdown: bool) -> list[str]:
    metric = comparison.metric
    rows = [["seed", "step", contrast.baseline, contrast.method, "difference"]]
    for pair in contrast.pairs:
        seeds = ", ".join(f"{key}={value}" for key, value in pair.seeds.items())
        steps = str(pair.steps[0]) if len(pair.steps) == 1 else f"{pair.steps[0]} … {pair.steps[-1]}"
        values = [_amount(value, metric) for value in pair.values]
        rows.append([seeds, steps, *values, _amount(pair.difference, metric, signed=True)])
    if contrast.difference is not None:
        columns = list(zip(*(pair.values for pair in contrast.pairs), strict=True))
        means = [_amount(sum(column) / len(column), metric) for column in columns]
        rows.append(["mean", "", *means, _amount(contrast.difference.mean, metric, signed=True)])
        spread = [*columns, [pair.difference for pair in contrast.pairs]]
        rows.append(["95 % (Student)", "", *(_interval(column, metric) for column in spread)])
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _which(at: At) -> str:
    return {
        At.LAST: "at the last validation common to a pair",
        At.BEST: "best of the validations common to a pair",
        At.MEAN3: "mean of the last three validations common to a pair",
    }[at]


def _student(values: Sequence[float]) -> tuple[float, float] | None:
    return paired.t_interval(values) if len(values) > 1 else None


def _interval(values: Sequence[float], metric: str) -> str:
    ends = _student(values)
    return f"[{_amount(ends[0], metric)}, {_amount(ends[1], metric)}]" if ends else ""


def _is_share(metric: str) -> bool:
    return metric.endswith("/acc") or "/acc/" in metric


def _amount(value: float, metric: str, signed: bool = False) -> str:
    """Accuracies in percent, or points where signed; any other metric as it is."""
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if _is_share(metric) else f"{value:{sign}.4g}"


def _more(difference: float, metric: str) -> str:
    if _is_share(metric):
        return f"{_amount(abs(difference), metric)} points {'better' if difference > 0 else 'worse'}"
    return f"{_amount(abs(difference), metric)} {'higher' if difference > 0 else 'lower'}"
