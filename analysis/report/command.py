"""``tr-grpo report``."""

import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tr_grpo.data_prep.errors import InputError


class Format(StrEnum):
    """What is written."""

    html = "html"
    md = "md"
    json = "json"
    csv = "csv"


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="run folders; seeds of one method are one band")],
    out: Annotated[Path | None, typer.Option(help="the file; by default report.<format> in the first run")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="html: the page; md: a table; json: the page's data; csv: every metric")
    ] = Format.html,
    open_it: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False,
) -> None:
    """Show one or more runs: curves, what drives the gradient token by token, settings, machine and findings."""
    from tr_grpo.analysis.report.formats import write

    for folder in runs:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such run folder; name the folder that holds metrics-000.jsonl")
    path = out or runs[0] / f"report.{form.value}"
    if path.is_dir():
        raise InputError(f"{path}: a folder; --out takes the name of a file")
    for line in write(runs, path, form.value):
        typer.echo(line, err=True)
    typer.echo(path)
    if open_it:
        webbrowser.open(path.resolve().as_uri())
