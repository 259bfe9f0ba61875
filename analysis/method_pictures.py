"""The pictures of docs/method.md: the weight by probability, and which tokens drive a run's updates.

    python -m tr_grpo.analysis.method_pictures --out docs/images --run outputs/my_run

Without ``--run`` only the curves are drawn, which need no run.
"""

import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from omegaconf import OmegaConf

from tr_grpo.analysis.run_metrics import Metrics, column, read_metrics
from tr_grpo.data_prep.errors import InputError
from tr_grpo.recipe.token_ledger import BUCKETS
from tr_grpo.recipe.weights import TokenWeight

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = "weight_curves.svg"
MASS = "gradient_mass.svg"
# Okabe and Ito's colours stay apart for colour-blind readers; line styles repeat the distinction.
STYLES = {
    "sigmoid": ("#D55E00", "-"),
    "shifted": ("#0072B2", "--"),
    "reverse": ("#CC79A7", "-."),
    "linear": ("#009E73", (0, (5, 1, 1, 1, 1, 1))),
    "uniform": ("#000000", ":"),
}
LABELS = {
    "sigmoid": "sigmoid (default)",
    "uniform": "uniform (GRPO); literal's constant 1",
    "linear": "linear (AR), a = 0.3",
}
SERIES = {
    "tr_tokens": ("share of tokens", "#999999"),
    "tr_mass_before": ("share of gradient mass, w divided out", "#0072B2"),
    "tr_mass": ("share of gradient mass, weighted", "#D55E00"),
}
"""Rows of bars: prefix of the metric, legend, colour."""
POINTS = 201


def bucket_means(steps: Mapping[int, Metrics]) -> dict[str, list[float | None]]:
    """Mean over the steps of each series and bucket; a step without the key is left out, None where all are."""
    means: dict[str, list[float | None]] = {}
    for series in SERIES:
        found = [column(dict(steps), f"actor/{series}/{bucket}")[1] for bucket in BUCKETS]
        means[series] = [statistics.fmean(values) if values else None for values in found]
    return means


def caption(run_folder: Path, steps: Mapping[int, Metrics]) -> str:
    """What was run, in a line: the groups of its config, and the steps that were measured."""
    path = run_folder / "config.yaml"
    if not path.is_file():
        raise InputError(f"{path}: no such file; --run takes a run's folder (trainer.default_local_dir)")
    group = OmegaConf.load(path).group
    measured = [step for step, metrics in steps.items() if f"actor/tr_tokens/{BUCKETS[0]}" in metrics]
    if not measured:
        raise InputError(f"{run_folder}: no step has actor/tr_tokens/…; train with policy_loss.diagnostics=true")
    span = f"steps {measured[0]} to {measured[-1]}" if len(measured) > 1 else f"step {measured[0]}"
    return f"algo={group.algo} task={group.task} llm={group.llm} cluster={group.cluster}, mean over {span}"


def draw_curves(path: Path) -> None:
    """Write w(pi) and w(pi) (1 - pi) of every shape at its default values."""
    probabilities = [index / (POINTS - 1) for index in range(POINTS)]
    figure = _figure(2)
    for axis, title, factor in zip(
        figure.axes,
        ("weight w(π)", "pull on the logits' gradient, w(π) · (1 − π), at |A r| = 1"),
        (lambda _: 1.0, lambda pi: 1.0 - pi),
        strict=True,
    ):
        for shape, (colour, line) in STYLES.items():
            weight = TokenWeight(shape)
            values = [weight.at(pi) * factor(pi) for pi in probabilities]
            axis.plot(
                probabilities, values, linestyle=line, color=colour, label=LABELS.get(shape, shape), linewidth=1.8
            )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("π, the policy's probability of the token")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.5)
        axis.grid(alpha=0.3)
    figure.axes[1].legend(fontsize=8.5, loc="upper right")
    _save(figure, path)


def draw_mass(steps: Mapping[int, Metrics], title: str, path: Path) -> None:
    """Write the bars of one run by probability bucket; a bucket that is undefined at every step has none."""
    means = bucket_means(steps)
    figure = _figure(1)
    (axis,) = figure.axes
    width = 0.8 / len(SERIES)
    for index, (series, (label, colour)) in enumerate(SERIES.items()):
        drawn = [(place, mean) for place, mean in enumerate(means[series]) if mean is not None]
        places = [place + (index - (len(SERIES) - 1) / 2) * width for place, _ in drawn]
        axis.bar(
            places, [mean for _, mean in drawn], width, color=colour, edgecolor="white", linewidth=0.5, label=label
        )
    axis.set_xticks(range(len(BUCKETS)), [bucket.replace("-", "–") for bucket in BUCKETS], fontsize=9)
    axis.set_xlabel("π of the token")
    axis.set_ylabel("share of the whole")
    axis.set_title(title, fontsize=10)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(fontsize=9)
    _save(figure, path)


def _figure(columns: int) -> "Figure":
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # Text as text keeps the file small; the white ground keeps it readable on a dark page.
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "tr_grpo", "font.family": "sans-serif"}
    return plt.subplots(1, columns, figsize=(10 if columns > 1 else 9, 4), layout="constrained", facecolor="white")[0]


def _save(figure: "Figure", path: Path) -> None:
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})  # no date: the same bytes again
    plt.close(figure)


def main(
    out: Annotated[Path, typer.Option(help="folder for the pictures")],
    run: Annotated[Path | None, typer.Option(help="a run's folder, for the picture of its gradient mass")] = None,
) -> None:
    """Draw the pictures of docs/method.md."""
    try:
        draw_curves(out / CURVES)
        print(out / CURVES)
        if run is not None:
            steps = read_metrics(run)
            title = caption(run, steps)
            draw_mass(steps, title, out / MASS)
            print(f"{out / MASS}\n{title}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    typer.run(main)
