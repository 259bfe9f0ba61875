"""What is drawn over the steps: which metrics, how several seeds become one band, and how long runs are thinned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tr_grpo.analysis.report.reading import Column

POINTS = 400
"""Most points of a curve."""
COLUMNS = 120
"""Most columns of a stacked chart."""
SMOOTHED_FROM = 120
"""Points from which a curve also has a trend, since noise hides it."""
SPAN = 20
"""The trend is a running mean over one in so many of the points."""
BUCKETS = ("0-0.001", "0.001-0.01", "0.01-0.05", "0.05-0.1", "0.1-0.25", "0.25-0.5", "0.5-0.75", "0.75-1")
"""``recipe.token_ledger.BUCKETS``, which a test compares: importing it would load torch."""
BUCKET_SERIES = ("tr_tokens", "tr_mass_before", "tr_mass")
VERDICT = "reward/verdict_"
HELD_OUT = "val-core/"


@dataclass(frozen=True)
class Chart:
    """One chart: a metric, and perhaps a second one drawn thin and dotted beside it.

    Attributes:
        key: the metric.
        title: what it is.
        caption: one sentence that says how to read it.
        second: key of the thin line.
        second_label: what the thin line is.
        optional: true where a run may well not have the metric: the chart is then left out instead of named absent.
    """

    key: str
    title: str
    caption: str
    second: str | None = None
    second_label: str = ""
    optional: bool = False


CHARTS = (
    Chart("critic/score/mean", "Reward", "Mean reward of the responses that the step was trained on."),
    Chart(
        "reward/acc", "Training accuracy", "Share of the step's sampled responses that are right (sampled, not greedy)."
    ),
    Chart("response_length/mean", "Response length", "Mean tokens a response."),
    Chart(
        # Not verl's response_length/clip_ratio, which counts the responses as long as the batch's longest.
        "reward/overlong",
        "Responses at the length limit",
        "Share of responses that the limit cut off; above a few percent the limit shapes what is learned.",
    ),
    Chart("actor/entropy", "Entropy", "Mean entropy of the policy's next-token distribution, in nats a token."),
    Chart(
        "actor/ppo_kl",
        "KL from the sampling policy",
        "Estimate of the KL divergence between the policy that sampled the step and the policy being updated.",
    ),
    Chart(
        "actor/kl_loss",
        "KL from the reference",
        "The KL penalty's estimate of the divergence from the reference policy.",
        optional=True,
    ),
    Chart(
        "actor/grad_norm",
        "Gradient norm",
        "Norm of the gradient before clipping, mean over the step's updates.",
        second="actor/update/grad_norm_p95",
        second_label="running p95 of the last 100 updates",
    ),
    Chart(
        "actor/pg_clipfrac",
        "Clip share",
        "Share of tokens that the ratio's clip holds (verl's mean over micro-batches).",
        second="actor/tr/share_without_gradient",
        second_label="exact share without gradient",
    ),
    Chart("actor/tr/weight_mean", "Token weight", "Mean weight of a token; 1 is plain GRPO."),
    Chart(
        "actor/tr/mass_p_0_25",
        "Gradient of rare tokens",
        "Share of the update's gradient mass that comes from tokens with π below 0.25.",
        second="actor/tr/mass_before_p_0_25",
        second_label="the same with the weight divided out",
    ),
    Chart(
        "actor/tr/effective_tokens",
        "Effective tokens",
        "As many tokens of equal mass would give the update's concentration; higher is more evenly spread.",
        second="actor/tr/effective_tokens_before",
        second_label="the same with the weight divided out",
    ),
    Chart("timing_s/step", "Seconds a step", "Wall-clock seconds of a step.", optional=True),
)


def held_out(key: str) -> Chart:
    """The chart of one of verl's validation metrics, ``val-core/<source>/<what>/<how>``."""
    _, source, *rest = key.split("/")
    return Chart(key, f"Held-out {'/'.join(rest)}, {source}", "Validation on held-out data, as verl computes it.")


def is_shown(key: str) -> bool:
    """Whether the report shows the metric anywhere."""
    return key in SHOWN or key.startswith((VERDICT, HELD_OUT))


SHOWN = frozenset(
    [chart.key for chart in CHARTS]
    + [chart.second for chart in CHARTS if chart.second]
    + [f"actor/{series}/{bucket}" for series in BUCKET_SERIES for bucket in BUCKETS]
    + ["actor/update/grad_norm_max"]
)


@dataclass(frozen=True)
class Band:
    """A metric of one method: at each of ``steps`` (n,) the mean, the least and the largest over its seeds (n,)."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(columns: Sequence["Column"]) -> Band:
    """One band of several seeds; at a step it is over the seeds that have the step."""
    steps, place = np.unique(np.concatenate([column.steps for column in columns]), return_inverse=True)
    values = np.concatenate([column.values for column in columns])
    low, high = np.full(len(steps), np.inf), np.full(len(steps), -np.inf)
    np.minimum.at(low, place, values)
    np.maximum.at(high, place, values)
    mean = np.bincount(place, weights=values) / np.bincount(place)
    # The mean of equal numbers may differ from them in the last bit.
    return Band(steps, np.clip(mean, low, high), low, high)


def thin(curve: Band, points: int = POINTS) -> Band:
    """At most ``points`` of the curve's points, the extremes among them.

    The first and the last point stay; the others are cut into runs of equal numbers of points, and of each run stay
    the point with the least ``low`` and the one with the largest ``high``. So no spike is lost, of no seed.
    """
    if len(curve.steps) <= points:
        return curve
    inner = np.arange(1, len(curve.steps) - 1)
    keep = {0, len(curve.steps) - 1}
    for part in np.array_split(inner, (points - 2) // 2):
        keep.add(int(part[curve.low[part].argmin()]))
        keep.add(int(part[curve.high[part].argmax()]))
    kept = np.array(sorted(keep))
    return Band(curve.steps[kept], curve.mean[kept], curve.low[kept], curve.high[kept])


def trend(curve: Band) -> np.ndarray | None:
    """The running mean (n,) of the curve's means over a window around each point; None for a short curve.

    The window is the same number of points to both sides, fewer towards the ends, so that a straight line stays one.
    """
    count = len(curve.steps)
    if count < SMOOTHED_FROM:
        return None
    places = np.arange(count)
    half = np.minimum(np.minimum(places, count - 1 - places), count // SPAN // 2)
    sums = np.concatenate([[0.0], np.cumsum(curve.mean)])
    return (sums[places + half + 1] - sums[places - half]) / (2 * half + 1)


def columns_of_means(curves: Sequence[Band | None], columns: int = COLUMNS) -> tuple[list[int], np.ndarray]:
    """Stacked shares, averaged over spans of steps where there are more than ``columns``.

    Args:
        curves: the mean of each category; None where a category was never measured.

    Returns:
        The first step of each span, and the means (spans, categories), NaN where a span has no value.
    """
    present = [curve for curve in curves if curve is not None]
    if not present:
        return [], np.empty((0, len(curves)))
    steps = np.unique(np.concatenate([curve.steps for curve in present]))
    spans = np.array_split(steps, min(columns, len(steps)))
    starts = np.array([span[0] for span in spans])
    table = np.full((len(spans), len(curves)), np.nan)
    for index, curve in enumerate(curves):
        if curve is None:
            continue
        place = np.searchsorted(starts, curve.steps, side="right") - 1
        count = np.bincount(place, minlength=len(spans))
        total = np.bincount(place, weights=curve.mean, minlength=len(spans))
        table[:, index] = np.divide(total, count, out=np.full(len(spans), np.nan), where=count > 0)
    return [int(start) for start in starts], table
