"""The quick start's picture: reward, accuracy, gradient norm and weight, one line an algorithm."""

from pathlib import Path

from tr_grpo.analysis.run_metrics import Metrics, column, weight_mean

ACCURACY = "val-core/knights_knaves/acc/mean@1"
REWARD = "critic/score/mean"
GRADIENT_NORM = "actor/grad_norm"
# Okabe and Ito's colours stay apart for colour-blind readers; line styles and markers repeat the distinction.
STYLES = {"grpo": ("GRPO", "#0072B2", "-", "o"), "tr_grpo": ("TR-GRPO", "#D55E00", "--", "s")}


def draw(runs: dict[str, dict[int, Metrics]], path: Path) -> None:
    """Write the four curves of ``runs`` (algorithm -> metrics by step) to ``path`` as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 6.5), constrained_layout=True)
    panels = (
        (axes[0, 0], "mean reward of the sampled responses"),
        (axes[0, 1], "held-out accuracy, greedy"),
        (axes[1, 0], "gradient norm"),
        (axes[1, 1], "mean token weight"),
    )
    for name, steps in runs.items():
        label, colour, line, marker = STYLES[name]
        weights = {step: {"w": w} for step, m in steps.items() if (w := weight_mean(m)) is not None}
        if not weights:  # plain GRPO weighs every token 1
            weights = {step: {"w": 1.0} for step in column(steps, GRADIENT_NORM)[0]}
        curves = (column(steps, REWARD), column(steps, ACCURACY), column(steps, GRADIENT_NORM), column(weights, "w"))
        for (axis, _), (x, y) in zip(panels, curves, strict=True):
            axis.plot(x, y, line, color=colour, marker=marker, markersize=3.5, label=label)
    for axis, title in panels:
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    panels[1][0].set_ylim(0, 1)
    axes[0, 0].legend()
    figure.suptitle("Knights & Knaves, the project's tiny model, CPU, one seed each")
    figure.savefig(path, dpi=120)
    plt.close(figure)
