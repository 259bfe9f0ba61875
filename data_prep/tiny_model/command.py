"""``tr-grpo prep tiny-model``: copy a shipped model, or build it again from data."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.tiny_model.files import SHIPPED, SHIPPED_ARITHMETIC, SHIPPED_FACTS, copy_shipped, read_manifest


@dataclass(frozen=True)
class Task:
    """One of the shipped models."""

    weights: Path
    prep: str
    """The command that makes its data."""
    module: str
    """With ``build`` and ``BuildConfig``; it loads torch and transformers, which copying does not need."""
    examples: str
    """Of what the manifest gives accuracies ..."""
    size: str
    """... by how many of what."""


TASKS = {
    "knights_knaves": Task(SHIPPED, "knights-knaves", "tr_grpo.data_prep.tiny_model.build", "puzzles", "people"),
    "arithmetic": Task(
        SHIPPED_ARITHMETIC, "arithmetic", "tr_grpo.data_prep.tiny_model.arithmetic.build", "problems", "numbers"
    ),
    "facts": Task(SHIPPED_FACTS, "facts", "tr_grpo.data_prep.tiny_model.facts.build", "questions", "hops"),
}


def tiny_model(
    out: Annotated[Path, typer.Option(help="Folder for the model: weights, tokenizer, config and manifest.json.")],
    task: Annotated[str, typer.Option(help="knights_knaves, arithmetic or facts.")] = "knights_knaves",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Train it again instead of copying it.")] = False,
    data: Annotated[list[Path] | None, typer.Option(help="With --rebuild: a folder of the task's prep.")] = None,
    seed: Annotated[int, typer.Option(help="With --rebuild: seed of the weights and of the examples.")] = 0,
) -> None:
    """A model of 0.8 to 0.9 M parameters for a quick start: it can solve its task's problems, but mostly guesses."""
    if task not in TASKS:
        raise InputError(f"--task {task}: there is no tiny model of it; choose from {', '.join(TASKS)}")
    chosen = TASKS[task]
    if rebuild:
        if not data:
            raise InputError(f"--rebuild needs --data: a folder that `tr-grpo prep {chosen.prep}` wrote")
        _rebuild(chosen, data, out, seed)
    elif data or seed:
        raise InputError("--data and --seed only act with --rebuild; leave them out to copy the shipped model")
    elif not copy_shipped(out, chosen.weights):
        typer.echo(f"already there: {out}")
    for size, accuracy in read_manifest(out)["held_out_greedy"].items():
        typer.echo(
            f"{size} {chosen.size}, {accuracy[chosen.examples]} held-out {chosen.examples}, greedy: "
            f"{accuracy['right']:.1%} right, {accuracy['format_ok']:.1%} in the right format"
        )


def _rebuild(task: Task, data: list[Path], out: Path, seed: int) -> None:
    builder = import_module(task.module)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def show(stage: str, step: int, steps: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=steps)
            bar.update(tasks[stage], completed=step, description=f"{stage}, loss {loss:.3f}")  # type: ignore[arg-type]

        builder.build(data, out, builder.BuildConfig(seed=seed), show)
