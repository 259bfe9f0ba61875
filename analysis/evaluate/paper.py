"""``--table paper``: ours in the layout of the papers' tables, with what they report beside it, labelled so.

Reported numbers are per cent, as precise as they were reported, and were measured on other machines, with the papers'
own puzzles, retrievers and scorers. A set that was not evaluated, or not reported, is a dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tr_grpo.analysis.evaluate.render import NONE, Grid, notes, percent
from tr_grpo.analysis.evaluate.samples import Sample
from tr_grpo.analysis.evaluate.table import Estimate, Line, Table, summarise
from tr_grpo.data_prep.errors import InputError

GRPO_SG = "arXiv 2511.00066"
AR_LOPTI = "arXiv 2505.12929, Fig. 4"


@dataclass(frozen=True)
class Reported:
    """One row of a paper."""

    model: str
    method: str
    source: str
    values: Mapping[str, str]
    """By column; ``mean`` only where the paper has it."""


@dataclass(frozen=True)
class Layout:
    """A paper's table: its columns, in its order."""

    title: str
    columns: Mapping[str, tuple[str, str]]
    """Heading: (data source, part)."""
    reported: tuple[Reported, ...]


def _levels(model: str, method: str, *values: str) -> Reported:
    return Reported(model, method, AR_LOPTI, dict(zip("34567", values, strict=True)))


KNIGHTS_KNAVES = Layout(
    "Knights & Knaves: accuracy by number of people",
    {people: ("knights_knaves", f"people {people}") for people in "34567"},
    (
        Reported("Qwen2.5-3B", "GRPO", GRPO_SG, {"mean": "39"}),
        Reported("Qwen2.5-3B", "TR-GRPO", GRPO_SG, {"mean": "63"}),
        _levels("Qwen2.5-3B-Instruct", "untrained", "9", "10", "3", "5", "2"),
        _levels("Qwen2.5-3B-Instruct", "GRPO", "60", "45", "33", "34", "23"),
        _levels("Qwen2.5-3B-Instruct", "AR", "67", "62", "53", "44", "37"),
        _levels("Qwen2.5-3B-Instruct", "Lopti", "74", "67", "56", "42", "30"),
        _levels("Qwen2.5-3B-Instruct", "AR and Lopti", "72", "66", "55", "52", "40"),
        _levels("Qwen2.5-7B-Instruct-1M", "untrained", "22", "15", "8", "10", "2"),
        _levels("Qwen2.5-7B-Instruct-1M", "GRPO", "91", "91", "77", "65", "61"),
        _levels("Qwen2.5-7B-Instruct-1M", "AR", "97", "98", "89", "83", "80"),
        _levels("Qwen2.5-7B-Instruct-1M", "AR and Lopti", "95", "94", "91", "87", "87"),
    ),
)
MATHEMATICS = Layout(
    "Mathematics: accuracy by set",
    {
        "AIME24": ("math/aime24", ""),
        "AMC23": ("math/amc23", ""),
        "MATH-500": ("math/math500", ""),
        "Minerva": ("math/minerva", ""),
        "OlympiadBench": ("math/olympiadbench", ""),
    },
    (
        Reported("R1-Distill-Qwen-1.5B on DeepScaleR", "GRPO, avg@16", GRPO_SG, {"AIME24": "28.89"}),
        Reported("R1-Distill-Qwen-1.5B on DeepScaleR", "GRPO-SG, avg@16", GRPO_SG, {"AIME24": "43.33"}),
    ),
)
QUESTIONS = Layout(
    "Question answering with search: exact match by set",
    {
        "NQ": ("nq", ""),
        "TriviaQA": ("triviaqa", ""),
        "PopQA": ("popqa", ""),
        "HotpotQA": ("hotpotqa", ""),
        "2Wiki": ("2wikimultihopqa", ""),
        "MuSiQue": ("musique", ""),
        "Bamboogle": ("bamboogle", ""),
    },
    (
        Reported("Qwen2.5-3B", "GRPO", GRPO_SG, {"mean": "13.84"}),
        Reported("Qwen2.5-3B", "TR-GRPO", GRPO_SG, {"mean": "27.29"}),
    ),
)
LAYOUTS = (KNIGHTS_KNAVES, MATHEMATICS, QUESTIONS)


def paper_grid(table: Table, samples: Sequence[Sample]) -> Grid:
    """The layout that the evaluated sets belong to; sets that are not in it are left out, of the mean too.

    table: of ``samples``. InputError: the sets belong to no layout.
    """
    sources = {line.name for line in table.lines}
    for layout in LAYOUTS:
        places = set(layout.columns.values())
        own = [sample for sample in samples if {(sample.data_source, sample.part), (sample.data_source, "")} & places]
        if own:
            return _grid(summarise(own, table.record, table.record["problems"], table.ks), layout, notes(table))
    known = ", ".join(source for layout in LAYOUTS for source in sorted({s for s, _ in layout.columns.values()}))
    raise InputError(f"--table paper: no paper reports {', '.join(sorted(sources))}; known are {known}")


def _grid(table: Table, layout: Layout, told: Sequence[str]) -> Grid:
    found = {(line.name, line.sole): line for line in table.lines if line.sole}
    found |= {(line.name, line.part): line for line in table.lines}
    lines = {heading: found.get(place) for heading, place in layout.columns.items()}
    # Of exactly these sets, or it is another mean.
    mean = table.mean if all(lines.values()) else None
    rows = []
    for kind in [f"avg@{table.samples}"] * bool(table.samples) + ["greedy"] * table.record["sampling"]["greedy"]:
        cells = [percent(_value(line, kind)) for line in (*lines.values(), mean)]
        rows.append((table.record["model"]["path"], f"ours, {kind}", *cells, "this evaluation"))
    for one in layout.reported:
        cells = [one.values.get(heading, NONE) for heading in (*layout.columns, "mean")]
        rows.append((one.model, f"reported: {one.method}", *cells, one.source))
    # The note on the mean is of the standard table's.
    kept = [note for note in told if not note.startswith("The mean of")]
    kept.append("Reported: the papers' own numbers, not measured here, on their puzzles, retrievers and scorers.")
    return Grid(layout.title, ("model", "method", *layout.columns, "mean", "source"), tuple(rows), tuple(kept))


def _value(line: Line | None, kind: str) -> Estimate | None:
    if line is None:
        return None
    return line.greedy if kind == "greedy" else line.avg
