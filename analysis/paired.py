"""Paired comparisons over seeds: what a difference of means is worth.

Two runs of one seed share prompts and noise, so their difference has less noise than either. Few seeds carry little:
the sign-flip test's smallest two-sided p is 2 / 2^n (0.0625 for 5 seeds, 0.016 for 7), and a percentile interval of
so few is too narrow (for normal differences of 5 to 7 seeds a nominal 95 % covers about 83 to 88 %).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 9999


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
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    interval = stats.bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(interval.low), float(interval.high)


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p: share of all sign patterns of ``differences`` (n,) whose mean is at least as far from 0."""
    result = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
