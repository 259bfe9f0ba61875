"""``tr-grpo evaluate``: a model or checkpoint on a task's sets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tr_grpo.data_prep.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from tr_grpo.analysis.evaluate.settings import Wishes

HELP = """Evaluate a model or checkpoint on a task's sets, e.g. tr-grpo evaluate outputs/run --samples 16 --out eval/run

MODEL is a folder, a name on the hub, a run's folder, or a checkpoint global_step_N. A run is evaluated with its own
settings; any other model needs them as Hydra overrides: task=math llm=base_model cluster=gpu_1. Exit status: 0 done,
1 a process failed or samples could not be scored, 2 bad input, 130 interrupted (the same command goes on)."""


def evaluate(
    model: Annotated[str | None, typer.Argument(help="What to evaluate.", show_default=False)] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides, as of tr-grpo train.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for samples and record; resumable.")] = None,
    data: Annotated[list[Path] | None, typer.Option(help="A parquet file or a folder; repeat it.")] = None,
    step: Annotated[int | None, typer.Option(help="Checkpoint of a run; the latest by default.")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples a problem.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="One greedy response a problem beside them.")] = False,
    temperature: Annotated[float | None, typer.Option(help="Of the samples; the task's by default.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the samples.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Of the samples; -1 for no limit.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of a response; the task's by default.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Problems of each set.")] = None,
    devices: Annotated[int | None, typer.Option(help="GPUs, all by default; on a CPU processes.")] = None,
    k: Annotated[str | None, typer.Option("--k", help="Of pass@k and maj@k: 1,4,16.")] = None,
    table: Annotated[str, typer.Option(help="standard, or paper: beside reported numbers.")] = "standard",
    style: Annotated[str, typer.Option("--format", help="text, md, json or csv.")] = "text",
    source: Annotated[Path | None, typer.Option("--from", help="Print the table of this --out again.")] = None,
) -> None:
    """Make what is missing, then print the table."""
    from tr_grpo.analysis.evaluate.settings import Wishes

    _check_layout(table, style)
    ks = _numbers(k)
    if source is not None:
        if model is not None or out is not None:
            raise InputError("--from prints what is there: leave MODEL and --out out")
        raise typer.Exit(show(source, table, style, ks))
    if model is None or out is None:
        raise InputError("name a MODEL and a folder --out; or --from, to print an evaluation's table again")
    files = tuple(data or ())
    wishes = Wishes(files, samples, temperature, top_p, top_k, greedy, max_tokens, seed, limit)
    try:
        status = make(model, step, overrides or [], wishes, out, devices, ks)
    except KeyboardInterrupt:
        print("interrupted; what was made is kept, and the same command goes on from it", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(show(out, table, style, ks) if status == 0 else status)


def _check_layout(table: str, style: str) -> None:
    from tr_grpo.analysis.evaluate.render import FORMATS

    if table not in ("standard", "paper"):
        raise InputError(f"--table {table}: has to be standard or paper")
    if style not in FORMATS:
        raise InputError(f"--format {style}: has to be one of {', '.join(FORMATS)}")
    if table == "paper" and style not in ("text", "md"):
        raise InputError(f"--format {style}: --table paper is text or md; --table standard has every number")


def _numbers(text: str | None) -> tuple[int, ...]:
    words = text.split(",") if text else []
    if any(not word.strip().isdecimal() or int(word) < 1 for word in words):
        raise InputError(f"--k {text}: has to be numbers from 1 on, such as 1,4,16")
    return tuple(sorted({int(word) for word in words}))


def make(
    name: str,
    step: int | None,
    overrides: Sequence[str],
    wishes: Wishes,
    out: Path,
    devices: int | None,
    ks: Sequence[int] = (),
) -> int:
    """Make the samples that ``out`` lacks; exit status 0 done, 1 a process failed.

    InputError: anything that can be found wrong before a process is started.
    """
    from omegaconf import OmegaConf

    from tr_grpo.analysis.evaluate import workers
    from tr_grpo.analysis.evaluate.checkpoint import find_model
    from tr_grpo.analysis.evaluate.problems import read_problems
    from tr_grpo.analysis.evaluate.samples import SampleFolder
    from tr_grpo.analysis.evaluate.settings import SAMPLES, claim, read_config, read_sampling, record_of
    from tr_grpo.analysis.evaluate.worker import jobs
    from tr_grpo.trainer import processes

    unknown = [word for word in overrides if "=" not in word]
    if unknown:
        raise InputError(f"{unknown[0]}: neither an option nor a Hydra override key=value")
    processes.interrupt_on_sigterm()
    with workers.locked(out) as lock:
        model = find_model(name, step, lambda line: print(line, file=sys.stderr, flush=True))
        config = read_config(model, overrides, wishes)
        config.reward.reward_kwargs.error_folder = str(out.absolute())
        sampling = read_sampling(config, wishes)
        _check_ks(ks, sampling.samples)
        placement = workers.place(config, devices)
        problems = read_problems([Path(file) for file in config.data.val_files], wishes.limit)
        check(config)
        claim(out, record_of(config, model, sampling, wishes, len(problems)), config)
        folder = SampleFolder(out / SAMPLES)
        todo = len(list(jobs(problems, sampling, folder.done())))
        if todo == 0:
            return 0
        OmegaConf.set_readonly(config, True)
        try:
            with _progress(len(problems) * len(sampling.wanted), todo) as update:
                workers.run(out, config, placement, lock, update)
        except workers.WorkerFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


def check(config: DictConfig) -> None:
    """The parts of the training's preflight that matter here. InputError: the errors, one line each."""
    from tr_grpo.trainer.preflight import model, reward, search, versions
    from tr_grpo.trainer.preflight.finding import Severity

    for part in (versions.check, model.check, reward.check, search.check):
        errors = [finding for finding in part(config) if finding.severity is Severity.ERROR]
        if errors:
            raise InputError("\n       ".join(f"{e.code} {e.message} -> {e.fix}" for e in errors))


def _check_ks(ks: Sequence[int], samples: int) -> None:
    if ks and max(ks) > samples:
        raise InputError(
            f"--k {max(ks)}: there are {samples} samples a problem; ask for at least {max(ks)} by --samples"
        )


@contextmanager
def _progress(total: int, todo: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; gives what takes the number of samples made since the start."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("samples", total=total, completed=total - todo)
        yield lambda made: bar.update(task, completed=total - todo + made)


def show(out: Path, layout: str, style: str, ks: Sequence[int]) -> int:
    """Print the table of an evaluation's samples; exit status 1 where some could not be scored.

    InputError: no evaluation there, no samples yet, or a k beyond the samples.
    """
    from tr_grpo.analysis.evaluate.paper import paper_grid
    from tr_grpo.analysis.evaluate.render import draw, render
    from tr_grpo.analysis.evaluate.samples import SampleFolder
    from tr_grpo.analysis.evaluate.settings import SAMPLES, read_record
    from tr_grpo.analysis.evaluate.table import summarise

    record = read_record(out)
    _check_ks(ks, record["sampling"]["samples"])
    samples = SampleFolder(out / SAMPLES).read()
    if not samples:
        raise InputError(f"{out}: no samples yet; run the command that made it again")
    table = summarise(samples, record, record["problems"], ks)
    text = draw([paper_grid(table, samples)], style) if layout == "paper" else render(table, style)
    typer.echo(text, nl=False)
    if table.unscored:
        print(
            f"error: {table.unscored} of {table.present} samples could not be scored (a search or judging failed: "
            f"{out}/scoring_errors-*.jsonl); the same command tries them again",
            file=sys.stderr,
        )
    return 1 if table.unscored else 0
