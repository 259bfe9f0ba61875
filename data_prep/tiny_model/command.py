"""``tr-grpo prep tiny-model``: copy the shipped model, or build it again from data."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.tiny_model.files import copy_shipped, read_manifest


def tiny_model(
    out: Annotated[Path, typer.Option(help="Folder for the model: weights, tokenizer, config and manifest.json.")],
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Train it again instead of copying it.")] = False,
    data: Annotated[list[Path] | None, typer.Option(help="With --rebuild: a folder of prep knights-knaves.")] = None,
    seed: Annotated[int, typer.Option(help="With --rebuild: seed of the weights and of the examples.")] = 0,
) -> None:
    """The quick start's model of 0.83 M parameters: it can solve puzzles of 2 and 3 people, but mostly guesses."""
    if rebuild:
        if not data:
            raise InputError("--rebuild needs --data: a folder that `tr-grpo prep knights-knaves` wrote")
        _rebuild(data, out, seed)
    elif data or seed:
        raise InputError("--data and --seed only act with --rebuild; leave them out to copy the shipped model")
    elif not copy_shipped(out):
        typer.echo(f"already there: {out}")
    for people, accuracy in read_manifest(out)["held_out_greedy"].items():
        typer.echo(
            f"{people} people, {accuracy['puzzles']} held-out puzzles, greedy: "
            f"{accuracy['right']:.1%} right, {accuracy['format_ok']:.1%} in the right format"
        )


def _rebuild(data: list[Path], out: Path, seed: int) -> None:
    # Loads torch and transformers, which copying does not need.
    from tr_grpo.data_prep.tiny_model.build import BuildConfig, build

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def show(stage: str, step: int, steps: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=steps)
            bar.update(tasks[stage], completed=step, description=f"{stage}, loss {loss:.3f}")  # type: ignore[arg-type]

        build(data, out, BuildConfig(seed=seed), show)
