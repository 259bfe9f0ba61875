"""The picture of docs/scaling.md: a step's seconds by number of GPUs, and what asynchrony gains."""

from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.plan.planning import Plan
from tr_grpo.trainer.plan.scale import Regime, Row, asynchrony, scale

COLOURS = {
    # Okabe and Ito 2008: told apart with any colour vision.
    "rollout": "#0072B2",
    "reward": "#F0E442",
    "log-probabilities": "#56B4E9",
    "update": "#009E73",
    "communication": "#E69F00",
    "weight sync": "#CC79A7",
    "data": "#D55E00",
    "overhead": "#999999",
}
UNSEEN = 3e-3
"""A part of a bar that is thinner than this share of the tallest bar is less than a line: it is left out."""


def draw(plan: Plan, path: Path) -> None:
    """Write the picture; the same plan gives the same bytes.

    Raises:
        InputError: another ending than .svg or .png, or a folder that cannot be written.
    """
    if path.suffix not in (".svg", ".png"):
        raise InputError(f"--draw {path}: must end in .svg or .png")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.hashsalt": "tr-grpo", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.2), layout="constrained")
        _bars(axes[0], scale(plan, Regime.SAME_BATCH), "The same batch")
        _bars(axes[1], scale(plan, Regime.BATCH_GROWS), "The batch grows with the GPUs")
        axes[1].legend(fontsize=8, frameon=False)
        _asynchrony(axes[2], plan)
        figure.suptitle(
            f"{plan.shape.name.rpartition('/')[2]} on {plan.card.name}: estimates on paper, not measurements",
            fontsize=10,
        )
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as problem:
            raise InputError(f"--draw {path}: cannot be written ({problem.strerror})") from problem
        finally:
            plt.close(figure)


def _bars(axes: Any, rows: list[Row], title: str) -> None:
    places = range(len(rows))
    bottom = [0.0] * len(rows)
    tallest = max(sum(row.time.parts().values()) for row in rows)
    for name, colour in COLOURS.items():
        heights = [row.time.parts()[name] for row in rows]
        for bar in axes.bar(places, heights, bottom=bottom, color=colour, label=name, width=0.8):
            if bar.get_height() < UNSEEN * tallest:
                bar.remove()
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_xticks(places, [f"{row.gpus:,}" for row in rows])
    axes.set_xlabel("GPUs")
    axes.set_ylabel("seconds a step")
    axes.set_title(title, fontsize=9)


def _asynchrony(axes: Any, plan: Plan) -> None:
    found = asynchrony(plan)
    sigmas = [each.sigma for each in found]
    axes.plot(sigmas, [each.asynchronous for each in found], "o-", color="#0072B2", label="asynchronous")
    axes.plot(sigmas, [each.one_step_off for each in found], "s--", color="#E69F00", label="one step off")
    axes.axhline(1, color="#999999", linewidth=1)
    axes.set_xlabel("σ of the log-normal response lengths")
    axes.set_ylabel("throughput, taking turns = 1")
    axes.set_title("Simulated: beside taking turns on the same GPUs", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
