"""``tr-grpo prep facts``."""

from pathlib import Path
from typing import Annotated

import typer

from tr_grpo.data_prep.facts.dataset import FactsConfig, build_facts


def facts(
    out: Annotated[Path, typer.Option(help="Folder for train.parquet, test.parquet, corpus.jsonl and manifest.json.")],
    people: Annotated[int, typer.Option(help="How many people the world has.")] = 480,
    train: Annotated[int, typer.Option(help="Training questions in all.")] = 2000,
    test: Annotated[int, typer.Option(help="Test questions in all.")] = 200,
    hops: Annotated[list[int], typer.Option(help="How many passages an answer takes: 1, 2 or both.")] = [1, 2],  # noqa: B006
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other data in the folder.")] = False,
) -> None:
    """A made-up world: its corpus, and questions whose answers only the corpus holds; train and test proved apart."""
    config = FactsConfig(out, people, train, test, tuple(hops), seed, overwrite)
    if config.folder.finished():
        typer.echo(f"already done: {out}")
    manifest = build_facts(config)
    for name, entry in manifest["files"].items():
        typer.echo(f"{out / name}: {entry['rows']} rows, sha256 {entry['sha256'][:16]}")
    typer.echo(f"answers: exactly one in the corpus, proved for {manifest['answers']['rows']} questions")
    typer.echo("train and test: proved by person and town, nothing shared")
