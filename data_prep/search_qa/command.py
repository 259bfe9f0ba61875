"""``tr-grpo prep search-qa``: public question sets, or your own, as verl files for a policy that searches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.search_qa.dataset import BAD, DROPPED, SearchQAConfig, build_dataset
from tr_grpo.data_prep.search_qa.sources import SOURCES
from tr_grpo.data_prep.search_qa.templates import TEMPLATES

FILE_OPTIONS = ("--from", "--apart-from")
"""Options that take several files after one name."""


def search_qa(
    source: Annotated[str, typer.Option(help=f"One of: {', '.join(SOURCES)}.")],
    out: Annotated[Path, typer.Option(help="Folder for train.parquet, test.parquet and manifest.json.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--from", help="Another hub name, a folder of its layout, or files.")
    ] = None,
    template: Annotated[
        str, typer.Option(help=f"What stands around a question: {', '.join(TEMPLATES)}.")
    ] = "search_r1",
    split: Annotated[str, typer.Option(help="Only train or test; for your own file: what it is.")] = "",
    question_column: Annotated[str, typer.Option(help="Column of the question. By default question.")] = "",
    answer_column: Annotated[
        str, typer.Option(help="Column of the answers. By default golden_answers, answer or reward_model.")
    ] = "",
    data_source: Annotated[str, typer.Option(help="data_source of the rows. By default the source's name.")] = "",
    apart_from: Annotated[
        list[str] | None,
        typer.Option(help="Test files or folders not to train on, or none. By default test sets beside --out."),
    ] = None,
    duplicates: Annotated[str, typer.Option(help="Repeated training questions: drop, or keep.")] = "drop",
    on_bad_row: Annotated[str, typer.Option(help="stop, or skip and list them.")] = "stop",
    limit: Annotated[int | None, typer.Option(help="Keep only the first so many rows of each split.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other data in the folder.")] = False,
) -> None:
    """Questions to be answered by searching: public sets or your own file, train kept apart from test sets."""
    if source not in SOURCES:
        raise InputError(f"--source {source}: has to be one of {', '.join(SOURCES)}")
    config = SearchQAConfig(
        out=out,
        source=SOURCES[source],
        inputs=tuple(inputs or ()),
        template=template,
        data_source=data_source,
        split=split,
        question_column=question_column,
        answer_column=answer_column,
        apart_from=_test_sets(apart_from),
        duplicates=duplicates,
        on_bad_row=on_bad_row,
        limit=limit,
        overwrite=overwrite,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        rows = bar.add_task("rows", total=None)
        manifest = build_dataset(config, lambda count: bar.advance(rows, count))
    _report(out, manifest)


def _test_sets(given: list[str] | None) -> tuple[Path, ...] | None:
    if given is None:
        return None
    if "none" in given:
        if len(given) > 1:
            raise InputError("--apart-from none: leave the other files out, or none")
        return ()
    return tuple(map(Path, given))


_WORDS = {
    "bad": f"bad ({BAD})",
    "duplicate": f"duplicate ({DROPPED})",
    "contradiction": f"of questions with contradicting answers ({DROPPED})",
    "in_evaluation": f"in a test set ({DROPPED})",
    "kept_duplicate": f"of these repeat a question ({DROPPED})",
    "kept_contradiction": f"of these repeat a question with other answers ({DROPPED})",
    "blank_answers": "blank answers left out",
}


def _report(out: Path, manifest: dict[str, Any]) -> None:
    for name, entry in manifest["files"].items():
        typer.echo(f"{out / name}: {entry['rows']} rows, sha256 {entry['sha256'][:16]}")
    for split, counts in manifest["counts"].items():
        left_out = ", ".join(f"{counts[name]} {words}" for name, words in _WORDS.items() if counts[name])
        typer.echo(f"{split}: {counts['read']} rows read, {counts['kept']} kept{f'; {left_out}' if left_out else ''}")
        if counts["published"] not in (None, counts["read"]) and manifest["settings"]["limit"] is None:
            _warn(f"{split}: the published data set has {counts['published']} rows, {counts['read']} were read")
    apart = manifest["separation"]
    if apart is None:
        return
    names = [entry["file"] for entry in apart["sets"]] + ["its own test split"] * ("test" in manifest["counts"])
    if names:
        verdict = "proved" if apart["proved"] else f"NOT apart: {apart['shared']} questions shared"
        typer.echo(f"train kept apart by question from {', '.join(names)}: {verdict}")
    else:
        _warn("training questions were compared with no test set: none was found beside --out, or --apart-from none")


def _warn(message: str) -> None:
    typer.echo(f"warning: {message}", err=True)
