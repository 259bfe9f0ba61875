"""Paired comparisons over seeds: what a difference of means is worth.

Two runs of one seed share prompts and noise, so their difference has less noise than either. Few seeds carry little:
the sign-flip test's smallest two-sided p is 2 / 2^n (0.0625 for 5 seeds, 0.016 for 7), and a percentile interval of
so few is too narrow (for normal differences of 5 to 7 seeds a nominal 95 % covers about 83 to 88 %).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# scipy.stats takes a second to import: the functions that use it do it, so that `tr-grpo --help` need not.
RESAMPLES = 9999
FEW = 5
"""With fewer pairs than this no interval is worth much."""
LEVEL, POWER = 0.05, 0.8
MOST_PAIRS = 10**6


@dataclass(frozen=True)
class Difference:
    """Mean paired difference, in the outcome's unit.

    Attributes:
        mean: of first minus second.
        low, high: ends of the 95 % percentile bootstrap interval over pairs.
        p: two-sided p of the sign-flip test of a mean of 0; exact up to 13 pairs.
        pairs: how many.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Difference:
    """Difference of paired outcomes, ``first[i]`` with ``second[i]``; the seed is that of the resampling.

    Raises ValueError for fewer than 2 pairs, for lengths that differ, and for values that are not finite.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"needs at least 2 pairs of outcomes, not {len(first)} and {len(second)}")
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if not np.isfinite(differences).all():
        raise ValueError("an outcome is not finite; leave out the pair and say so")
    low, high = bootstrap(differences, seed)
    return Difference(float(differences.mean()), low, high, sign_flip(differences, seed), len(differences))


def bootstrap(differences: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``differences`` (n,), pairs resampled with replacement."""
    from scipy import stats

    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=_batch(differences),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p: share of all sign patterns of ``differences`` (n,) whose mean is at least as far from 0."""
    from scipy import stats

    result = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
        batch=_batch(differences),
    )
    return float(result.pvalue)


def _batch(differences: np.ndarray) -> int:
    """Resamples at a time: some 10 million numbers, for thousands of problems are pairs too."""
    return max(10**7 // len(differences), 1)


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p that the sign-flip test of so many pairs can give: all differences of one sign.

    Up to 13 pairs all patterns are counted, from then on ``RESAMPLES`` of them and the one that was seen.
    """
    patterns = 2**pairs if 2**pairs <= RESAMPLES else RESAMPLES + 1
    return min(1.0, 2 / patterns)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean: wide enough for few values, if these are about normal.

    ValueError for fewer than 2 values.
    """
    from scipy import stats

    numbers = np.asarray(values, dtype=float)
    if len(numbers) < 2:
        raise ValueError("needs at least 2 values")
    half = stats.t.ppf(1 - LEVEL / 2, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers))
    return float(numbers.mean() - half), float(numbers.mean() + half)


def power(effect: float, pairs: int) -> float:
    """Chance that a two-sided paired t-test at 5 % finds a difference.

    Its statistic is noncentral t with ``pairs - 1`` degrees of freedom and noncentrality ``effect`` times the root of
    ``pairs`` (Cohen 1988, section 2.5).

    Args:
        effect: true mean difference over the true standard deviation of the differences.
        pairs: at least 2.
    """
    from scipy import stats

    freedom, shift = pairs - 1, abs(effect) * np.sqrt(pairs)
    critical = stats.t.ppf(1 - LEVEL / 2, freedom)
    return float(stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift))


def pairs_needed(differences: Sequence[float]) -> int | None:
    """The fewest pairs with which a paired t-test at 5 % finds such a difference with a power of 80 %.

    Taken at their word, that is as if mean and spread were the true ones; few pairs know neither well.

    Returns:
        At least 2; None where the mean is 0 or so small that more than a million pairs were needed.

    ValueError for fewer than 2 differences.
    """
    numbers = np.asarray(differences, dtype=float)
    if len(numbers) < 2:
        raise ValueError("needs at least 2 differences")
    mean, spread = abs(float(numbers.mean())), float(numbers.std(ddof=1))
    if mean == 0:
        return None
    effect = min(mean / spread, 100.0) if spread > 0 else 100.0
    # Doubled first: the noncentral t of scipy is exact near the answer and not far above it.
    low, high = 1, 2
    while power(effect, high) < POWER:
        low, high = high, 2 * high
        if high > MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle) >= POWER else (middle, high)
    return high
