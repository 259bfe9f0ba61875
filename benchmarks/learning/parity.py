"""Does the simulator train like verl? Greedy accuracy by step of both, on the same test rows from the same start.

Rollouts of verl's trainer are not seeded, so the two agree if verl's curve lies where the simulator's seeds do.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.learning.evaluate import evaluate
from benchmarks.learning.settings import Run, Settings
from benchmarks.learning.simulate import Simulator
from benchmarks.learning.world import TEST_PUZZLES, World
from tr_grpo.analysis.curves import ACCURACY
from tr_grpo.analysis.run_metrics import column, read_metrics
from tr_grpo.data_prep.knights_knaves.rows import to_puzzle
from tr_grpo.data_prep.schema import read_rows

GRADIENT_NORM, CLIPPED = "actor/grad_norm", "actor/pg_clipfrac"


def simulated(world: World, data: Path, run: Run, settings: Settings) -> pd.DataFrame:
    """Rows of (run, step, greedy, grad_norm, clipped); step 0 is before training."""
    test = [to_puzzle(row) for people in TEST_PUZZLES for row in read_rows(data / f"people_{people}" / "test.parquet")]
    model, tokenizer = world.policy()
    simulator = Simulator(model, tokenizer, run.actor(settings), run.lr, run.seed, replace(settings, probe_every=10**9))
    order = world.prompts(run.seed, settings.steps * settings.prompts)
    rows = []
    for step in range(settings.steps + 1):
        row: dict[str, object] = {"run": f"simulator, seed {run.seed}", "step": step}
        if step:
            metrics = simulator.step(step, order[(step - 1) * settings.prompts : step * settings.prompts])
            row |= {"grad_norm": metrics["grad_norm"], "clipped": metrics["clipped"]}
        if step % settings.evaluate_every == 0:
            found = evaluate(model, tokenizer, test, settings, samples=0, prefix="greedy")
            right = sum(found[f"greedy_right_{people}"] * count for people, count in TEST_PUZZLES.items())
            row["greedy"] = right / sum(TEST_PUZZLES.values())
        rows.append(row)
    return pd.DataFrame(rows)


def measured(folder: Path) -> pd.DataFrame:
    """The same of a run of ``tr-grpo train``, read from its metrics."""
    metrics = read_metrics(folder)
    columns = {"greedy": ACCURACY, "grad_norm": GRADIENT_NORM, "clipped": CLIPPED}
    series = {}
    for name, key in columns.items():
        steps, values = column(metrics, key)
        series[name] = pd.Series(values, index=steps)
    table = pd.DataFrame(series).rename_axis("step").reset_index()
    return table.assign(run="verl")
