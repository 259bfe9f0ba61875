"""Finished runs as two tables: one row a step, one row a run."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.learning.settings import LEARNING_RATES, METHODS, Run

KEYS = ["method", "lr", "seed"]
UPDATES = ("grad_norm_1", "grad_norm_2")
MEANS = (
    "share_lower", "share_ramp", "share_upper", "mass_lower", "mass_ramp", "mass_upper", "mass_choice", "mass_wording",
    "mass_role", "mass_logic", "mass_answer", "clipped", "sharpness", "sharpness_slope", "sharpness_curvature",
)  # fmt: skip
"""Columns of a run that are means of the same columns over its steps."""


def load(folder: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Runs of the seeds for which the whole grid is there, and those seeds.

    Raises ValueError if runs differ in settings or start model, or if fewer than two seeds are complete.
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))}
    cells = [(method, lr) for method in METHODS for lr in LEARNING_RATES]
    started = {run["run"]["seed"] for run in found.values()}
    names = {seed: [Run(method, lr, seed).name for method, lr in cells] for seed in sorted(started)}
    seeds = [seed for seed, needed in names.items() if all(name in found for name in needed)]
    runs = [found[name] for seed in seeds for name in names[seed]]
    if len(seeds) < 2:
        raise ValueError(f"{folder}/runs: {len(seeds)} seeds are complete; run the grid first")
    if len({json.dumps([run["settings"], run["start"]]) for run in runs}) != 1:
        raise ValueError(f"{folder}/runs: made with different settings or start models")
    return runs, seeds


def step_table(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a run and step. The last step's accuracy is missing: the end is measured with more samples."""
    return pd.DataFrame([run["run"] | step for run in runs for step in run["steps"]])


def run_table(runs: list[dict[str, Any]], start: dict[str, Any]) -> pd.DataFrame:
    """One row a run: the outcomes."""
    return pd.DataFrame([run["run"] | outcomes(run, start) | {"seconds": run["seconds"]} for run in runs])


def outcomes(run: dict[str, Any], start: dict[str, Any]) -> dict[str, float]:
    """Outcomes of a run: accuracies as shares, gradient norms over updates, means over steps."""
    end, steps = run["end"], pd.DataFrame(run["steps"])
    norms = pd.concat([steps[column] for column in UPDATES])
    curve, early = accuracy_curve(run, start), steps[steps.step == 5]
    return {
        "accuracy": _mean_of_sizes(end, "sampled"),
        "accuracy_2": end["sampled_right_2"],
        "accuracy_3": end["sampled_right_3"],
        "greedy": _mean_of_sizes(end, "greedy"),
        "greedy_2": end["greedy_right_2"],
        "greedy_3": end["greedy_right_3"],
        "greedy_4": end["greedy_right_4"],
        "careful": (end["sampled_careful_2"] + end["sampled_careful_3"]) / 2,
        "area": float((curve.iloc[1:].to_numpy() + curve.iloc[:-1].to_numpy()).mean() / 2),
        "careful_step_5": float(early[["sampled_careful_2", "sampled_careful_3"]].mean(axis=1).iloc[0]),
        "grad_norm_mean": norms.mean(),
        "grad_norm_p95": norms.quantile(0.95),
        "grad_norm_max": norms.max(),
        "grad_norm_variation": norms.std(ddof=0) / norms.mean(),
        **{name: steps[name].mean() for name in MEANS},
        "log_prob_end": steps["log_prob"].iloc[-5:].mean(),
    }


def accuracy_curve(run: dict[str, Any], start: dict[str, Any]) -> pd.Series:
    """Sampled accuracy (mean of sizes) by step; evaluations are equally far apart, the first is the start's."""
    points = {0: _mean_of_sizes(start, "sampled")}
    points |= {s["step"]: _mean_of_sizes(s, "sampled") for s in run["steps"] if "sampled_right_2" in s}
    return pd.Series(points | {run["steps"][-1]["step"]: _mean_of_sizes(run["end"], "sampled")})


def _mean_of_sizes(values: dict[str, float], prefix: str) -> float:
    return (values[f"{prefix}_right_2"] + values[f"{prefix}_right_3"]) / 2
