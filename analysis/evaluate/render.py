"""A table as text for a terminal, Markdown, JSON or CSV; the same table gives the same characters."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tr_grpo.analysis.evaluate.table import Estimate, Line, Table

FORMATS = ("text", "md", "json", "csv")
NONE = "–"


@dataclass(frozen=True)
class Grid:
    """Cells, ready to be drawn."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def percent(estimate: Estimate | None, interval: bool = True) -> str:
    """``43.3 [25.5, 62.6]``: per cent, with the 95 % interval."""
    if estimate is None:
        return NONE
    value = f"{100 * estimate.value:.1f}"
    return f"{value} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]" if interval else value


def grids(table: Table) -> list[Grid]:
    """The accuracies, and the verdicts."""
    return [_accuracies(table), _verdicts(table)]


def _lines(table: Table) -> list[Line]:
    sets = {line.name for line in table.lines}
    return [*table.lines, *([table.overall] if len(sets) > 1 else []), *([table.mean] if table.mean else [])]


def _name(line: Line) -> str:
    return f"  {line.part}" if line.part else line.name


def _accuracies(table: Table) -> Grid:
    has_greedy = table.record["sampling"]["greedy"]
    header = ["set", "problems", *(["greedy"] if has_greedy else [])]
    if table.samples:
        header += [f"avg@{table.samples}", *(f"pass@{k}" for k in table.ks), *(f"maj@{k}" for k in table.ks)]
    header += ["tokens", "truncated", "unscored"]
    rows = []
    for line in _lines(table):
        cells = [_name(line), str(line.problems), *([percent(line.greedy)] if has_greedy else [])]
        if table.samples:
            cells.append(percent(line.avg))
            cells += [percent(line.passes.get(k)) for k in table.ks]
            cells += [percent(line.majorities.get(k)) for k in table.ks]
        cells += [NONE if line.tokens is None else f"{line.tokens:.1f}", percent(line.truncated, interval=False)]
        rows.append((*cells, str(line.unscored)))
    return Grid(f"{table.record['task']}: {table.record['model']['path']}", tuple(header), tuple(rows), notes(table))


def _verdicts(table: Table) -> Grid:
    lines = [line for line in _lines(table) if line is not table.mean]
    seen = [verdict for verdict, share in table.overall.verdicts.items() if share.value > 0]
    kind = "the samples'" if table.samples else "the greedy responses'"
    rows = [(_name(line), *(percent(line.verdicts.get(verdict)) for verdict in seen)) for line in lines]
    return Grid(f"Verdicts: {kind} shares", ("set", *seen), tuple(rows))


def notes(table: Table) -> tuple[str, ...]:
    """What has to be known to read the table."""
    plan, record = table.record["sampling"], table.record
    drawn = f"{plan['samples']} samples a problem at temperature {plan['temperature']:g}, top-p {plan['top_p']:g}"
    drawn += f", top-k {plan['top_k']}" if plan["top_k"] > 0 else ""
    both = [drawn] * bool(plan["samples"]) + ["one greedy response"] * plan["greedy"]
    found = [
        f"Per cent [95 % interval]. {' and '.join(both)}; at most {plan['max_tokens']} tokens; seed {plan['seed']}; "
        f"scorer {record['reward']['scorer']}."
    ]
    if table.mean:
        found.append(f"The {table.mean.name} weighs alike: {', '.join(table.averaged)}.")
    if record["limit"] is not None:
        found.append(f"LIMITED to {record['limit']} problems of each set: not the sets' own numbers.")
    if table.present < table.expected:
        found.append(f"UNFINISHED: {table.present} of {table.expected} samples.")
    if table.unscored:
        found.append(
            f"UNSCORED: {table.unscored} samples (judging or search failed) are left out; the rest is no fair sample."
        )
    return tuple(found)


def render(table: Table, style: str) -> str:
    """The whole table in one of ``FORMATS``."""
    if style == "json":
        return to_json(table)
    return to_csv(table) if style == "csv" else draw(grids(table), style)


def draw(parts: Sequence[Grid], style: str) -> str:
    """Grids as ``text`` or ``md``, one under the other."""
    return "\n".join((_markdown if style == "md" else _text)(part) for part in parts)


def _text(grid: Grid) -> str:
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(title=grid.title, title_justify="left")
    for number, name in enumerate(grid.header):
        drawn.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in grid.rows:
        # The interval under its value: a terminal is not wide.
        drawn.add_row(*(cell.replace(" [", "\n[").replace("[", r"\[") for cell in row))
    stream = io.StringIO()
    console = Console(file=stream, width=10_000, color_system=None, highlight=False)
    console.print(drawn)
    for note in grid.notes:
        console.print(note, markup=False)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _markdown(grid: Grid) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.strip().replace("|", r"\|") for cell in cells) + " |"

    rule = "|" + "---|" * len(grid.header)
    lines = [f"**{grid.title}**", "", row(grid.header), rule, *map(row, grid.rows), ""]
    return "\n".join([*lines, *(line for note in grid.notes for line in (note, ""))])


def to_json(table: Table) -> str:
    """Every number of the table, unrounded, with its record."""
    lines = [_plain(line) for line in table.lines]
    whole = {
        "sets": lines,
        "all": _plain(table.overall),
        "mean": _plain(table.mean) if table.mean else None,
        "mean_of": list(table.averaged) if table.mean else [],
        "expected_samples": table.expected,
        "present_samples": table.present,
        "record": table.record,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _plain(line: Line) -> dict[str, Any]:
    values = asdict(line)
    for name, key in (("passes", "pass@"), ("majorities", "maj@")):
        values[name] = {f"{key}{k}": value for k, value in values[name].items()}
    return values


def to_csv(table: Table) -> str:
    """One measure a row: set, part, measure, value, low, high; shares, not per cent."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["set", "part", "measure", "value", "low", "high"])
    for line in [*table.lines, table.overall, *([table.mean] if table.mean else [])]:
        estimates: dict[str, Estimate | None] = {"greedy": line.greedy, f"avg@{table.samples}": line.avg}
        estimates |= {f"pass@{k}": line.passes.get(k) for k in table.ks}
        estimates |= {f"maj@{k}": line.majorities.get(k) for k in table.ks}
        estimates |= {"truncated": line.truncated} | {f"verdict_{v}": e for v, e in line.verdicts.items()}
        for name, estimate in estimates.items():
            if estimate is not None:
                writer.writerow([line.name, line.part, name, estimate.value, estimate.low, estimate.high])
        counts = {"problems": line.problems, "samples": line.samples, "unscored": line.unscored, "tokens": line.tokens}
        for name, count in counts.items():
            if count is not None:
                writer.writerow([line.name, line.part, name, count, "", ""])
    return stream.getvalue()
