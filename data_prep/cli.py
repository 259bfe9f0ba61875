"""``tr-grpo prep``: the commands that make data. Bad input raises ``InputError``; the caller prints it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand

from tr_grpo.data_prep.arithmetic.command import arithmetic
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts.command import facts
from tr_grpo.data_prep.knights_knaves import (
    KINDS,
    NAMES,
    DatasetConfig,
    GenerationConfig,
    ImportConfig,
    build_dataset,
    import_dataset,
)
from tr_grpo.data_prep.math.command import FILE_OPTIONS, math
from tr_grpo.data_prep.search_qa.command import FILE_OPTIONS as SEARCH_QA_FILES
from tr_grpo.data_prep.search_qa.command import search_qa
from tr_grpo.data_prep.tiny_model.command import tiny_model

app = typer.Typer(help="Make data sets: verl parquet files with a manifest.", no_args_is_help=True)


@app.callback()
def prep() -> None:
    """Make data sets: verl parquet files with a manifest."""


def spread(arguments: list[str], options: tuple[str, ...]) -> list[str]:
    """``--people 3 4`` as ``--people 3 --people 4``: each of ``options`` takes all values up to the next option."""
    result: list[str] = []
    current = ""
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in options else ""
        elif current and result[-1] != current:
            result.append(current)
        result.append(argument)
    return result


class ManyValues(TyperCommand):
    """A command whose ``--people``, ``--kinds``, ``--names``, ``--terms`` and ``--hops`` take several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse ``args`` after spreading the values of those options."""
        return super().parse_args(ctx, spread(args, ("--people", "--kinds", "--names", "--terms", "--hops")))


class ManyFiles(TyperCommand):
    """A command whose file options take several files after one option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse ``args`` after spreading the values of those options."""
        return super().parse_args(ctx, spread(args, (*FILE_OPTIONS, *SEARCH_QA_FILES)))


@app.command("knights-knaves", cls=ManyValues)
def knights_knaves(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for train.parquet, test.parquet and manifest.json.")],
    inputs: Annotated[list[str] | None, typer.Argument(help="With --from: files, a hub name or a folder.")] = None,
    source: Annotated[str, typer.Option("--from", help="Import instead: logic-rl or k-and-k.")] = "",
    people: Annotated[list[int], typer.Option(help="Numbers of people, 2 to 8.")] = [3, 4, 5, 6, 7],  # noqa: B006
    train: Annotated[int, typer.Option(help="Training puzzles per number of people.")] = 900,
    test: Annotated[int, typer.Option(help="Test puzzles per number of people.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    depth: Annotated[int, typer.Option(help="Deepest nesting of connectives in a claim, 1 to 4.")] = 1,
    kinds: Annotated[list[str], typer.Option(help="Forms of claims.")] = list(KINDS),  # noqa: B006
    names: Annotated[list[str] | None, typer.Option(help="Names to draw from, or how many of the list.")] = None,
    phrasing: Annotated[str, typer.Option(help="varied or plain.")] = "varied",
    style: Annotated[str, typer.Option(help="logic_rl (system message) or short (tiny models).")] = "logic_rl",
    separation: Annotated[str, typer.Option(help="Keep apart by form, or only by wording.")] = "form",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other data in the folder.")] = False,
) -> None:
    """Knights and knaves with one proved solution each, train and test proved apart; resumable."""
    if source:
        _refuse_generator_options(ctx)
        task = ImportConfig(out, source, tuple(inputs or ()), overwrite)
        with _progress() as bar:
            rows = bar.add_task("import", total=None)
            manifest = import_dataset(task, lambda count: bar.advance(rows, count))
    else:
        if inputs:
            raise InputError(f"{inputs[0]}: files are only read with --from logic-rl or --from k-and-k")
        puzzles = GenerationConfig(max(people), depth, tuple(kinds), _names(names), phrasing, style)
        config = DatasetConfig(out, tuple(people), train, test, seed, puzzles, separation, overwrite)
        done = config.folder.finished()
        if done:
            typer.echo(f"already done: {out}")
            return _report(out, done)
        with _progress() as bar:
            rows = bar.add_task("puzzles", total=config.rows)
            manifest = build_dataset(config, lambda count: bar.advance(rows, count))
    _report(out, manifest)


app.command("arithmetic", cls=ManyValues)(arithmetic)
app.command("facts", cls=ManyValues)(facts)
app.command("tiny-model")(tiny_model)
app.command("math", cls=ManyFiles)(math)
app.command("search-qa", cls=ManyFiles)(search_qa)


def _refuse_generator_options(ctx: typer.Context) -> None:
    imports = {"out", "inputs", "source", "overwrite"}
    for name in ctx.params:
        given = ctx.get_parameter_source(name)
        if name not in imports and given is not None and given.name == "COMMANDLINE":
            raise InputError(f"--{name} makes puzzles and does nothing with --from; leave it out")


def _names(values: list[str] | None) -> tuple[str, ...]:
    if not values:
        return NAMES
    if len(values) == 1 and values[0].isdecimal():
        count = int(values[0])
        if count > len(NAMES):
            raise InputError(f"--names {count}: the list has {len(NAMES)}; name them one by one for more")
        return NAMES[:count]
    return tuple(values)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _report(out: Path, manifest: dict[str, Any]) -> None:
    for name, entry in manifest["files"].items():
        typer.echo(f"{out / name}: {entry['rows']} rows, sha256 {entry['sha256'][:16]}")
    typer.echo(f"exactly one solution: proved for {manifest['one_solution']['rows']} rows")
    apart = manifest["separation"]
    if len(manifest["files"]) == 1:
        verdict = "nothing to separate, one file only"
    elif apart["proved"]:
        verdict = f"proved by {apart['level']}, nothing shared"
    else:
        verdict = f"NOT separate by {apart['level']}: {apart['test_rows_shared']} test rows have a twin in train"
    typer.echo(f"train and test: {verdict}")
