"""The figure: accuracy and gradient norm by step, a column a learning rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.learning.outcomes import UPDATES, accuracy_curve
from benchmarks.learning.settings import LEARNING_RATES

# Okabe and Ito's colours stay apart for colour-blind readers; line styles repeat the distinction.
STYLES = {
    "grpo": ("#000000", "-"),
    "tr_grpo": ("#D55E00", "--"),
    "tr_grpo_normalized": ("#CC79A7", "-."),
    "reverse": ("#0072B2", ":"),
    "ar": ("#009E73", (0, (5, 1, 1, 1, 1, 1))),
}


def draw(runs: Sequence[dict[str, Any]], start: dict[str, float], labels: Mapping[str, str], path: Path) -> None:
    """Write the means over seeds to ``path`` as PNG; the band is GRPO's standard error."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, len(LEARNING_RATES), figsize=(11, 6), sharex=True, sharey="row", layout="constrained"
    )
    for column, lr in enumerate(LEARNING_RATES):
        for method, label in labels.items():
            own = [run for run in runs if (run["run"]["method"], run["run"]["lr"]) == (method, lr)]
            colour, line = STYLES[method]
            accuracy = pd.DataFrame([accuracy_curve(run, start) for run in own])
            norms = pd.DataFrame(
                [pd.DataFrame(run["steps"]).set_index("step")[list(UPDATES)].mean(axis=1) for run in own]
            )
            for axis, values in (
                (axes[0, column], accuracy),
                (axes[1, column], norms.T.rolling(3, min_periods=1).mean().T),
            ):
                mean = values.mean()
                axis.plot(mean.index, mean, linestyle=line, color=colour, label=label)
                if method == "grpo":
                    error = values.sem()
                    axis.fill_between(mean.index, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
        axes[0, column].set_title(f"learning rate {lr:g}", fontsize=11)
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("held-out accuracy, sampled")
    axes[1, 0].set_ylabel("gradient norm (mean of 3 steps)")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
