"""Estimates of an evaluation and their 95 % intervals: avg@k, pass@k, maj@k, Wilson's interval, the bootstrap.

A problem has n samples, of which c are right. All three measures at k are expectations over the subsets of k of the n
samples, each equally likely, drawn *without* replacement; so they are exact functions of what was sampled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
BLOCK = 2**20
"""Draws of the bootstrap that are in memory at once."""
MOST_SAMPLES = 1024
"""Samples of a problem: up to here every binomial coefficient is a finite float."""

Floats = NDArray[np.float64]


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share ``right / count`` of independent trials (Wilson 1927).

    ValueError: no trials, or more right ones than trials.
    """
    interval = stats.binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def avg_at_k(n: ArrayLike, c: ArrayLike) -> Floats:
    """Mean rightness c / n of each problem's n samples; the same as pass@1."""
    return np.asarray(c, float) / np.asarray(n, float)


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """Chen et al.'s unbiased pass@k, 1 - C(n-c, k) / C(n, k), of each problem (arXiv 2107.03374, Eq. 1).

    As their product over k factors (1 - c / (n-i)), i < k, which neither overflows nor cancels.
    ValueError: a problem with less than k samples, or more right ones than samples.
    """
    samples, right = np.broadcast_arrays(np.asarray(n), np.asarray(c))
    if k < 1 or (samples < k).any() or (right > samples).any() or (right < 0).any():
        raise ValueError(f"pass@{k} needs at least {k} samples of each problem, 0 to n of them right")
    none_right = np.ones(samples.shape)
    for i in range(k):
        # A factor below 0 follows one that is 0: fewer wrong samples than draws.
        none_right *= np.maximum(1 - right / (samples - i), 0)
    return 1 - none_right


def majority_at_k(answers: Sequence[str | None], right: Sequence[bool], k: int) -> float:
    """maj@k: the expected rightness of the commonest answer of k of the n samples. Exact, whatever n and k.

    The most frequent answer of a subset wins; among equally frequent ones each with the same probability. None (no
    answer was read) has no vote, and a subset of only None is not right. A winner counts as its answer's samples are
    judged; where they are judged differently, their mean.

    How: answer j with C(n_j, t) ways to have t votes wins where every other has at most t. The ways of the others are
    the coefficients of a product of polynomials in the number of votes, one for each number of ties.

    ValueError: k is not in 1 .. n, or the lengths differ.
    """
    n = len(answers)
    if not 1 <= k <= n or len(right) != n:
        raise ValueError(f"maj@{k} needs at least {k} samples with a judgement each, not {n} and {len(right)}")
    judged = defaultdict(list)
    for answer, is_right in zip(answers, right, strict=True):
        judged[answer].append(bool(is_right))
    silent = len(judged.pop(None, []))
    sizes = Counter({answer: len(group) for answer, group in judged.items()})
    worth = {answer: sum(group) / len(group) for answer, group in judged.items()}
    expected = 0.0
    for answer in (answer for answer in sizes if worth[answer] > 0):
        others = [size for other, size in sizes.items() if other != answer]
        for votes in range(1, min(k, sizes[answer]) + 1):
            ways = _ways(others, silent, votes, k - votes)
            share = sum(number / (ties + 1) for ties, number in enumerate(ways))
            expected += worth[answer] * comb(sizes[answer], votes) * share
    return expected / comb(n, k)


def _ways(others: Sequence[int], silent: int, votes: int, draws: int) -> list[int]:
    """In how many ways ``draws`` fall on the others, none of which gets more than ``votes``; by the number of ties."""
    table = [[0] * (draws + 1) for _ in range(draws // votes + 1)]  # [ties][draws]
    table[0] = [comb(silent, drawn) for drawn in range(draws + 1)]
    for size in others:
        grown = [[0] * (draws + 1) for _ in table]
        for ties, row in enumerate(table):
            for drawn, number in enumerate(row):
                if not number:
                    continue
                for more in range(min(votes, size, draws - drawn) + 1):
                    grown[ties + (more == votes)][drawn + more] += number * comb(size, more)
        table = grown
    return [row[draws] for row in table]


def resampled_means(values: ArrayLike, seed: Sequence[int], resamples: int = RESAMPLES) -> Floats:
    """Means over problems drawn with replacement.

    Args:
        values: (problems, measures); NaN where a problem has no such value, which is then left out of that mean.
        seed: the same seed gives the same resamples.

    Returns:
        (resamples, measures); NaN for a resample without a value.
    """
    table = np.asarray(values, float)
    present = (~np.isnan(table)).astype(float)
    filled = np.nan_to_num(table)
    generator, problems = np.random.default_rng(list(seed)), len(table)
    means = np.empty((resamples, table.shape[1]))
    at_once = max(1, BLOCK // problems)
    for first in range(0, resamples, at_once):
        rows = min(at_once, resamples - first)
        drawn = generator.integers(problems, size=(rows, problems)) + problems * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * problems).reshape(rows, problems).astype(float)
        with np.errstate(invalid="ignore"):
            means[first : first + rows] = (times @ filled) / (times @ present)
    return means


def percentile_interval(means: Floats) -> tuple[Floats, Floats]:
    """The 95 % percentile interval of each column of resampled means (Efron 1979); NaN for one without values."""
    tail = 50 * (1 - CONFIDENCE)
    known = np.where(np.isnan(means).all(axis=0), 0.0, means)
    low, high = np.nanpercentile(known, [tail, 100 - tail], axis=0)
    missing = np.isnan(means).all(axis=0)
    return np.where(missing, np.nan, low), np.where(missing, np.nan, high)


def bootstrap_over_problems(
    values: ArrayLike, groups: Sequence[int] | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % percentile interval of a mean over problems, or of the mean of the groups' means.

    values: (problems,). groups: of each problem; each group is then resampled within itself and weighs the same.
    """
    column = np.asarray(values, float)[:, None]
    labels = np.zeros(len(column), int) if groups is None else np.asarray(groups)
    parts = [
        resampled_means(column[labels == label], (seed, i), resamples) for i, label in enumerate(np.unique(labels))
    ]
    low, high = percentile_interval(np.mean(parts, axis=0))
    return float(low[0]), float(high[0])
