"""The published files: CSV of steps, runs and comparisons, the figure, and the tables in learning.md."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.learning.compare import BASELINE, BEST, comparisons
from benchmarks.learning.figure import draw
from benchmarks.learning.outcomes import load, run_table, step_table
from benchmarks.learning.settings import LEARNING_RATES, METHODS
from benchmarks.learning.tokens import BANDS, KINDS

COMMON_LR = LEARNING_RATES[1]
LABELS = {
    "grpo": "GRPO",
    "tr_grpo": "TR-GRPO",
    "tr_grpo_normalized": "TR normalised",
    "reverse": "reverse",
    "ar": "AR",
}
SECONDARY = {
    "accuracy_2": ("sampled, 2 people", "{:.3f}"),
    "accuracy_3": ("sampled, 3 people", "{:.3f}"),
    "greedy": ("greedy", "{:.3f}"),
    "greedy_4": ("greedy, 4 people", "{:.3f}"),
    "area": ("area under the sampled curve", "{:.3f}"),
    "careful_step_5": ("share that thinks, step 5", "{:.3f}"),
    "grad_norm_mean": ("gradient norm, mean", "{:.3f}"),
    "grad_norm_p95": ("gradient norm, p95", "{:.3f}"),
    "grad_norm_max": ("gradient norm, max", "{:.3f}"),
    "grad_norm_variation": ("gradient norm, variation", "{:.3f}"),
    "mass_lower": ("mass on π < 0.25", "{:.3f}"),
    "share_lower": ("tokens at the lower clip", "{:.3f}"),
    "share_ramp": ("tokens in the ramp", "{:.3f}"),
    "share_upper": ("tokens at the upper clip", "{:.3f}"),
    "clipped": ("tokens clipped by PPO", "{:.5f}"),
    "sharpness": ("sharpness: rise at ρ = 0.05", "{:.4f}"),
    "sharpness_curvature": ("the rise less its linear part", "{:.5f}"),
    "log_prob_end": ("mean log π, last 5 steps", "{:.3f}"),
}
BEGIN, END = "<!-- tables: written by `python -m benchmarks.learning report` -->", "<!-- end of tables -->"


def write_all(folder: Path, out: Path) -> None:
    """Write everything to ``out``; the text around the tables of ``learning.md`` stays as it is."""
    runs, seeds = load(folder)
    start = json.loads((folder / "start.json").read_text())
    steps, table = step_table(runs), run_table(runs, start["once"])
    compared = comparisons(table)
    out.mkdir(parents=True, exist_ok=True)
    for name, frame in (("steps", steps), ("runs", table), ("comparisons", compared)):
        frame.to_csv(out / f"learning_{name}.csv", index=False, float_format="%.6g")
    draw(runs, start["once"], LABELS, out / "learning.png")
    text = "\n\n".join(
        [
            BEGIN,
            _made(runs, seeds),
            _start(start),
            "### Primary: sampled accuracy after the last step",
            _primary(compared),
            f"### Secondary, at learning rate {COMMON_LR:g}",
            _secondary(compared, COMMON_LR),
            "### Secondary, at each method's best learning rate (chosen on the other seeds)",
            _secondary(compared, BEST),
            f"### Phases, at learning rate {COMMON_LR:g}: sampled accuracy, and the share of responses that think",
            _phases(steps, table, start["once"]),
            f"### Which tokens: the gradient's mass at learning rate {COMMON_LR:g}, first and last five steps",
            _kinds(steps),
            END,
        ]
    )
    path = out / "learning.md"
    before, _, rest = (path.read_text() if path.exists() else f"{BEGIN}{END}").partition(BEGIN)
    path.write_text(before + text + rest.partition(END)[2])


def _made(runs: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    seconds = sorted(run["seconds"] for run in runs)
    commits = ", ".join(sorted({run["commit"] for run in runs}))
    versions = ", ".join(f"{name} {number}" for name, number in runs[0]["versions"].items())
    return (
        f"{len(runs)} runs, seeds {', '.join(map(str, seeds))}; {sum(seconds) / 60:.0f} minutes on one thread, median "
        f"{seconds[len(seconds) // 2]:.0f} s a run. Commit {commits}; {versions}. Start model's weights: sha256 "
        f"`{runs[0]['start'][:16]}…`."
    )


def _start(start: dict[str, Any]) -> str:
    bands, parts = start["histogram"]["bands"], start["histogram"]["parts"]
    accuracy = _markdown(
        ["start model", "2 people", "3 people", "4 people"],
        [
            ["greedy", *(f"{start[f'greedy_right_{n}']:.3f}" for n in (2, 3, 4))],
            ["temperature 1", *(f"{start[f'sampled_right_{n}']:.3f}" for n in (2, 3)), "–"],
            ["of these, thinks", *(f"{start[f'sampled_careful_{n}']:.3f}" for n in (2, 3)), "–"],
        ],
    )
    histogram = _markdown(
        ["π", *(f"{i / 20:.2f}–{(i + 1) / 20:.2f}" for i in range(10))],
        [
            ["share", *(f"{share:.3f}" for share in parts[:10])],
            ["**π**", *(f"**{i / 20:.2f}–{(i + 1) / 20:.2f}**" for i in range(10, 20))],
            ["share", *(f"{share:.3f}" for share in parts[10:])],
        ],
    )
    return (
        f"{accuracy}\n\nProbabilities of {start['tokens']:,} tokens sampled from the start model: {bands[0]:.1%} at "
        f"the default weight's lower clip, {bands[1]:.1%} in the ramp, {bands[2]:.1%} at the upper clip.\n\n{histogram}"
    )


def _primary(compared: pd.DataFrame) -> str:
    own = compared[compared.outcome == "accuracy"]
    columns = (*LEARNING_RATES, BEST)
    header = ["", *(f"lr {lr:g}" if lr != BEST else "best lr" for lr in columns)]
    return _markdown(header, [[LABELS[name], *(_cell(own, name, lr, "{:.3f}") for lr in columns)] for name in METHODS])


def _secondary(compared: pd.DataFrame, lr: float | str) -> str:
    rows = []
    for outcome, (label, form) in SECONDARY.items():
        own = compared[compared.outcome == outcome]
        rows.append([label, *(_cell(own, name, lr, form) for name in METHODS)])
    return _markdown(["", *(LABELS[name] for name in METHODS)], rows)


def _cell(own: pd.DataFrame, method: str, lr: float | str, form: str) -> str:
    """``mean (difference [low, high], p)``."""
    row = own[(own.method == method) & (own.lr == lr)].iloc[0]
    mean = form.format(row["mean"])
    if method == BASELINE:
        return f"{mean} ± {form.format(row['sd'])}"
    signed = form.replace(":", ":+")
    interval = ", ".join(signed.format(row[end]) for end in ("low", "high"))
    return f"{mean} ({signed.format(row['difference'])} [{interval}], p {row['p']:.2f})"


def _phases(steps: pd.DataFrame, runs: pd.DataFrame, start: dict[str, float]) -> str:
    rows = []
    last = int(steps.step.max())
    evaluated = sorted(steps.loc[steps.sampled_right_2.notna(), "step"].unique())
    for name in METHODS:
        own = steps[(steps.method == name) & (steps.lr == COMMON_LR)].groupby("step").mean(numeric_only=True)
        end = runs[(runs.method == name) & (runs.lr == COMMON_LR)].mean(numeric_only=True)
        cells = [_pair(start)] + [_pair(own.loc[step]) for step in evaluated]
        rows.append([LABELS[name], *cells, f"{end.accuracy:.3f} / {end.careful:.3f}"])
    return _markdown(["step", "0", *map(str, evaluated), str(last)], rows)


def _pair(values: Any) -> str:
    right = (values["sampled_right_2"] + values["sampled_right_3"]) / 2
    careful = (values["sampled_careful_2"] + values["sampled_careful_3"]) / 2
    return f"{right:.3f} / {careful:.3f}"


def _kinds(steps: pd.DataFrame) -> str:
    columns = [f"mass_{name}" for name in (*BANDS, *KINDS)]
    last = int(steps.step.max())
    rows = []
    for name in METHODS:
        own = steps[(steps.method == name) & (steps.lr == COMMON_LR)]
        for label, part in (("first", own[own.step <= 5]), ("last", own[own.step > last - 5])):
            means = part[columns].mean()
            means /= means.iloc[: len(BANDS)].sum()  # an update in which no row has an advantage has no mass
            rows.append([f"{LABELS[name]}, {label}", *(f"{share:.3f}" for share in means)])
    return _markdown(["", "π < 0.25", "ramp", "π > 0.344", *KINDS], rows)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
