"""``python -m benchmarks.learning``: prepare, grid, control, direction, parity, report."""

import time
import warnings
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from rich.console import Console

from benchmarks.learning import report as reporting
from benchmarks.learning.direction import directions
from benchmarks.learning.grid import do, grid, start
from benchmarks.learning.parity import measured, simulated
from benchmarks.learning.settings import FOLDER, LEARNING_RATES, SEEDS, Run, Settings
from benchmarks.learning.world import World, prepare

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(highlight=False)
Folder = Annotated[Path, typer.Option(help="Data, start model and finished runs; nothing in it is committed.")]


def world_of(folder: Path) -> World:
    """The world in ``folder``, on one thread; what is missing is made."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")

    def show(stage: str, step: int, steps: int, loss: float) -> None:
        if step % 50 == 0:
            console.print(f"start model: {stage} {step}/{steps}, loss {loss:.3f}")

    return prepare(folder, show)


@app.command("prepare")
def prepare_(folder: Folder = FOLDER) -> None:
    """Data and start model (about 4 minutes), and what the start model can do."""
    found = start(world_of(folder), Settings(), folder)
    shares = ", ".join(f"{share:.3f}" for share in found["histogram"]["bands"])
    console.print(f"tokens at the lower clip, in the ramp, at the upper clip: {shares}")


@app.command("grid")
def grid_(
    folder: Folder = FOLDER,
    minutes: Annotated[float, typer.Option(help="Start no run after so many minutes.")] = 1e9,
) -> None:
    """Every method, learning rate and seed that is not yet in FOLDER/runs."""
    settings, world, began = Settings(), world_of(folder), time.monotonic()
    start(world, settings, folder)
    for run in grid():
        if time.monotonic() - began > 60 * minutes:
            console.print("out of time; run it again to go on")
            return
        result = do(run, world, settings, folder / "runs")
        end = result["end"]
        console.print(
            f"{run.name}: sampled {end['sampled_right_2']:.3f} {end['sampled_right_3']:.3f}, {result['seconds']} s"
        )


@app.command()
def control(folder: Folder = FOLDER) -> None:
    """Uniform weights against GRPO, bit for bit, at the middle learning rate; exit status 1 if they differ."""
    settings, world = Settings(), world_of(folder)
    lr, seed = LEARNING_RATES[1], SEEDS[0]
    results = [do(Run(name, lr, seed), world, settings, folder / "runs") for name in ("grpo", "uniform")]
    equal = all(results[0][part] == results[1][part] for part in ("steps", "end"))
    console.print(f"uniform and grpo, seed {seed}, lr {lr:g}: {'equal' if equal else 'DIFFERENT'} in every number")
    raise typer.Exit(0 if equal else 1)


@app.command("direction")
def direction_(folder: Folder = FOLDER, out: Path = Path("docs/results/learning_direction.csv")) -> None:
    """How far each weight turns the gradient, at the start and after ten steps of GRPO (about 4 minutes)."""
    world, tables = world_of(folder), []
    for warm_steps in (0, 10):
        table = directions(world, Settings(), warm_steps, LEARNING_RATES[1])
        text = table.to_string(index=False, float_format="{:.4f}".format)
        console.print(f"after {warm_steps} steps\n{text}", soft_wrap=True)
        tables.append(table.assign(after_steps=warm_steps))
    pd.concat(tables).to_csv(out, index=False, float_format="%.6g")


@app.command("parity")
def parity_(
    folder: Folder = FOLDER,
    verl: Annotated[
        Path | None, typer.Option(help="Folder of a `tr-grpo train algo=grpo` run; see learning.md.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Simulator runs, from seed 1.")] = 3,
    out: Path = Path("docs/results/learning_parity.csv"),
) -> None:
    """Greedy accuracy by step of the simulator's GRPO and, if there is one, of verl's."""
    world, cache = world_of(folder), folder / "parity.csv"
    if not cache.exists():
        runs = [Run("grpo", LEARNING_RATES[1], seed) for seed in range(1, seeds + 1)]
        pd.concat([simulated(world, folder / "data", run, Settings()) for run in runs]).to_csv(cache, index=False)
    table = pd.concat([pd.read_csv(cache), *([measured(verl)] if verl else [])])
    table.to_csv(out, index=False, float_format="%.6g")
    evaluated = table[table.greedy.notna()].pivot(index="run", columns="step", values="greedy")
    console.print(evaluated.to_string(float_format="{:.3f}".format))
    console.print(table.groupby("run")[["grad_norm", "clipped"]].mean().to_string(float_format="{:.4f}".format))


@app.command()
def report(folder: Folder = FOLDER, out: Path = Path("docs/results")) -> None:
    """Tables, CSV files and the figure from the finished runs."""
    reporting.write_all(folder, out)


if __name__ == "__main__":
    app()
