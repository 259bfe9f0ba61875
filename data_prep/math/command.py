"""``tr-grpo prep math``: public mathematics data, or your own, as verl files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math.answers import READERS
from tr_grpo.data_prep.math.dataset import BAD, DROPPED, MathConfig, build_dataset
from tr_grpo.data_prep.math.problems import BOXED
from tr_grpo.data_prep.math.sources import SOURCES, Source

FILE_OPTIONS = ("--from", "--decontaminate")
"""Options that take several files after one name."""


def math(
    source: Annotated[str, typer.Option(help=f"One of: {', '.join(SOURCES)}.")],
    out: Annotated[Path, typer.Option(help="Folder for train.parquet, test.parquet and manifest.json.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--from", help="Another hub name, a local folder of its layout, or files.")
    ] = None,
    split: Annotated[str, typer.Option(help="Only train or test; for your own file: what it is.")] = "",
    problem_column: Annotated[str, typer.Option(help="Column of the problem; dots go deeper.")] = "",
    answer_column: Annotated[str, typer.Option(help="Column of the answer; dots go deeper.")] = "",
    answer_from: Annotated[str, typer.Option(help=f"How the answer is read: {', '.join(READERS)}.")] = "",
    data_source: Annotated[str, typer.Option(help="data_source of the rows. By default math/SOURCE.")] = "",
    system_prompt: Annotated[str, typer.Option(help="none, boxed, or the text itself.")] = "none",
    instruction: Annotated[str, typer.Option(help="Text behind each problem; may be empty.")] = BOXED,
    decontaminate: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation files or folders, or none. By default evaluation sets beside --out."),
    ] = None,
    model: Annotated[str, typer.Option(help="With --max-prompt-length: whose tokenizer counts.")] = "",
    max_prompt_length: Annotated[int | None, typer.Option(help="Leave out longer prompts, in tokens.")] = None,
    duplicates: Annotated[str, typer.Option(help="Repeated training problems: drop, or keep.")] = "drop",
    on_bad_row: Annotated[str, typer.Option(help="stop, or skip and list them.")] = "stop",
    limit: Annotated[int | None, typer.Option(help="Keep only the first so many rows of each split.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other data in the folder.")] = False,
) -> None:
    """Mathematics: public sources or your own file, checked, deduplicated, kept apart from evaluation sets."""
    if source not in SOURCES:
        raise InputError(f"--source {source}: has to be one of {', '.join(SOURCES)}")
    config = MathConfig(
        out=out,
        source=_with_columns(SOURCES[source], problem_column, answer_column, answer_from),
        inputs=tuple(inputs or ()),
        data_source=data_source,
        split=split,
        system={"none": "", "boxed": BOXED}.get(system_prompt, system_prompt),
        instruction=instruction,
        decontaminate=_evaluations(decontaminate),
        model=model,
        max_prompt_length=max_prompt_length,
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


def _with_columns(source: Source, problem: str, answer: str, answer_from: str) -> Source:
    return replace(
        source,
        problem=problem or source.problem,
        answer=answer or source.answer,
        answer_from=answer_from or source.answer_from,
    )


def _evaluations(given: list[str] | None) -> tuple[Path, ...] | None:
    if given is None:
        return None
    if "none" in given:
        if len(given) > 1:
            raise InputError("--decontaminate none: leave the other files out, or none")
        return ()
    return tuple(map(Path, given))


def _report(out: Path, manifest: dict[str, Any]) -> None:
    for name, entry in manifest["files"].items():
        typer.echo(f"{out / name}: {entry['rows']} rows, sha256 {entry['sha256'][:16]}")
    for split, counts in manifest["counts"].items():
        published = counts["published"]
        left_out = ", ".join(f"{counts[name]} {words}" for name, words in _WORDS.items() if counts.get(name))
        typer.echo(f"{split}: {counts['read']} rows read, {counts['kept']} kept{f'; {left_out}' if left_out else ''}")
        if published is not None and counts["read"] != published and manifest["settings"]["limit"] is None:
            _warn(f"{split}: the published data set has {published} rows, {counts['read']} were read")
    if "train" in manifest["counts"]:
        _report_decontamination(manifest["decontamination"])


_WORDS = {
    "bad": f"bad ({BAD})",
    "duplicate": f"duplicate ({DROPPED})",
    "contradiction": "of problems with contradicting answers",
    "in_evaluation": "in an evaluation set",
    "too_long": "too long",
    "kept_duplicate": f"of these repeat a problem ({DROPPED})",
    "kept_contradiction": "of these repeat a problem with another answer",
}


def _report_decontamination(compared: dict[str, Any] | None) -> None:
    if compared is None:
        _warn("training problems were compared with no evaluation set (--decontaminate none)")
    elif not compared["sets"]:
        _warn("no evaluation sets were found beside --out: training problems were compared with none; "
              "prepare the evaluation sets first, or name them with --decontaminate")  # fmt: skip
    else:
        names = ", ".join(f"{entry['file']} ({entry['rows']})" for entry in compared["sets"])
        typer.echo(f"kept apart from: {names}")


def _warn(message: str) -> None:
    typer.echo(f"warning: {message}", err=True)
