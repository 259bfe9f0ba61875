"""What ``tr-grpo report`` can write: the page, a table for a paper, the page's data, every metric."""

import csv
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tr_grpo.analysis.report.curves import band
from tr_grpo.analysis.report.data import dumps, page_data
from tr_grpo.analysis.report.facts import accuracy_key, headline
from tr_grpo.analysis.report.methods import difference, group
from tr_grpo.analysis.report.page import render
from tr_grpo.analysis.report.reading import Record, cut_lines, labels, read_records
from tr_grpo.analysis.run_folder import open_run
from tr_grpo.data_prep.errors import InputError

MAIN = (
    "critic/score/mean",
    "reward/acc",
    "response_length/mean",
    "actor/entropy",
    "actor/ppo_kl",
    "actor/grad_norm",
    "actor/update/grad_norm_p95",
    "actor/pg_clipfrac",
    "actor/tr/weight_mean",
    "actor/tr/mass_before_p_0_25",
    "actor/tr/mass_p_0_25",
    "actor/tr/effective_tokens",
    "timing_s/step",
)
"""Rows of the Markdown table, after the accuracy."""


def write(folders: Sequence[Path], path: Path, form: str) -> list[str]:
    """Write the report of the runs to ``path``, whole or not at all.

    Args:
        form: html, md, json or csv.

    Returns:
        One line for each thing that the report could not show.

    Raises:
        InputError: a folder is no run, or the file cannot be written.
    """
    if form == "csv":
        problems: list[str] = []
        _replace(path, csv_lines(folders, problems))
        return problems
    records = read_records(folders)
    if form == "md":
        _replace(path, [markdown(records).encode("utf-8", errors="backslashreplace")])
        return [problem for record in records for problem in record.problems]
    data = page_data(records)
    content = dumps(data).encode() if form == "json" else render(data, [record.label for record in records])
    _replace(path, [content])
    return list(data["problems"])


def _replace(path: Path, parts: Iterable[bytes]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.writelines(parts)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
    finally:
        temporary.unlink(missing_ok=True)


def csv_lines(folders: Sequence[Path], problems: list[str]) -> Iterator[bytes]:
    """Every metric in long form, ``run,algo,step,key,value``, one run in memory at a time; adds to ``problems``."""

    class Line:
        def write(self, text: str) -> bytes:
            return text.encode("utf-8", errors="backslashreplace")

    writer = csv.writer(Line(), lineterminator="\n")
    yield writer.writerow(("run", "algo", "step", "key", "value"))
    for folder, label in zip(folders, labels(folders), strict=True):
        run = open_run(folder)
        problems += [*run.problems, *cut_lines(folder)]
        for step, metrics in run.metrics.items():
            for key, value in metrics.items():
                yield writer.writerow((label, run.algo, step, key, value))


def markdown(records: Sequence[Record]) -> str:
    """A table of the main metrics of each run, and of the mean of each method's seeds: first, last, mean."""
    methods = group(records, difference(records))
    accuracy = accuracy_key(records)
    keys = ([accuracy] if accuracy and accuracy not in MAIN else []) + list(MAIN)
    lines = [cell(headline(records, methods)), ""]
    lines += ["| method | run | metric | first | last | mean | steps |", "|---|---|---|---:|---:|---:|---:|"]
    for method in methods:
        members = [records[place] for place in method.records]
        for key in keys:
            rows = [(record.label, record.columns[key]) for record in members if key in record.columns]
            if not rows:
                lines.append(f"| {cell(method.label)} | – | {cell(key)} | absent | absent | absent | 0 |")
                continue
            shown = [(label, column.steps, column.values) for label, column in rows]
            if len(rows) > 1:
                whole = band([column for _, column in rows])
                shown.append((f"mean of {len(rows)} seeds", whole.steps, whole.mean))
            for label, steps, values in shown:
                numbers = " | ".join(f"{value:.4g}" for value in (values[0], values[-1], values.mean()))
                lines.append(f"| {cell(method.label)} | {cell(label)} | {cell(key)} | {numbers} | {len(steps)} |")
    problems = [problem for record in records for problem in record.problems]
    lines += ["", *(f"- {cell(problem)}" for problem in problems)]
    return "\n".join(lines).rstrip() + "\n"


def cell(text: str) -> str:
    """Text that stays text in a Markdown table: no bar, no markup, no invisible character."""
    shown = []
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            shown.append(f"⟨U+{ord(character):04X}⟩")
        elif character in "\\|`*<>[]&":
            shown.append(f"\\{character}" if character not in "<>&" else f"&#{ord(character)};")
        else:
            shown.append(character)
    return "".join(shown)
