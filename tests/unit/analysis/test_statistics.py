"""Closed forms, scipy and the enumeration of every subset: what the estimates must equal."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tr_grpo.analysis.statistics import (
    avg_at_k,
    bootstrap_over_problems,
    majority_at_k,
    pass_at_k,
    percentile_interval,
    resampled_means,
    wilson,
)

SAMPLES = st.lists(st.tuples(st.sampled_from([None, "a", "b", "c", "d"]), st.booleans()), min_size=1, max_size=8)


def enumerated_pass(right: list[bool], k: int) -> float:
    return float(np.mean([any(subset) for subset in combinations(right, k)]))


def enumerated_majority(samples: list[tuple[str | None, bool]], k: int) -> float:
    worth = {a: np.mean([right for answer, right in samples if answer == a]) for a, _ in samples}
    total = []
    for subset in combinations(samples, k):
        votes = Counter(answer for answer, _ in subset if answer is not None)
        winners = [answer for answer, count in votes.items() if count == max(votes.values())]
        total.append(float(np.mean([worth[answer] for answer in winners])) if winners else 0.0)
    return float(np.mean(total))


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_mean_over_every_subset(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    assert pass_at_k(len(right), sum(right), k) == pytest.approx(enumerated_pass(right, k), abs=1e-12)


def test_pass_at_k_is_the_binomial_form_and_stays_finite_for_many_samples() -> None:
    n, c, k = 1000, 3, 200
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert pass_at_k(n, c, k) == pytest.approx(exact, rel=1e-12)
    # 1 - C(n-c,k)/C(n,k) by floats would cancel here.
    assert pass_at_k(1024, 0, 512) == 0.0


def test_one_of_four_right_is_pass_at_4_of_one_where_draws_with_replacement_say_less() -> None:
    """verl's best@4 draws 4 of 4 with replacement: 1 - (3/4)^4."""
    assert pass_at_k(4, 1, 4) == 1.0
    assert pass_at_k([4, 4], [1, 0], 1) == pytest.approx([0.25, 0.0])
    assert avg_at_k([4, 4], [1, 0]) == pytest.approx(pass_at_k([4, 4], [1, 0], 1))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_refuses_what_it_cannot_estimate(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


@settings(max_examples=300, deadline=None)
@given(SAMPLES, st.data())
def test_majority_at_k_is_the_mean_over_every_subset(
    samples: list[tuple[str | None, bool]], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(samples)))
    answers, right = [a for a, _ in samples], [r for _, r in samples]
    assert majority_at_k(answers, right, k) == pytest.approx(enumerated_majority(samples, k), abs=1e-12)


def test_majority_by_hand() -> None:
    assert majority_at_k(["a", "a", "b"], [True, True, False], 3) == 1.0
    assert majority_at_k(["a", "b"], [True, False], 2) == 0.5  # a tie is broken evenly
    assert majority_at_k([None, None, "a"], [False, False, True], 3) == 1.0  # no answer has no vote
    assert majority_at_k([None, None], [False, False], 2) == 0.0
    # Two of a subset of two are a tie unless they agree, so maj@2 is avg.
    assert majority_at_k(["a", "b", "c", "a"], [True, False, False, True], 2) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="maj@3"):
        majority_at_k(["a", "b"], [True, False], 3)


def test_majority_of_many_samples_is_exact_and_tends_to_the_commonest_answer() -> None:
    answers = ["a"] * 30 + ["b"] * 20 + [None] * 14
    right = [True] * 30 + [False] * 34
    values = [majority_at_k(answers, right, k) for k in (1, 4, 16, 64)]
    assert values[0] == pytest.approx(30 / 64)
    assert values == sorted(values)
    assert values[-1] == 1.0


@given(st.integers(1, 500), st.data())
def test_wilson_solves_its_equation_and_holds_the_share(count: int, data: st.DataObject) -> None:
    """The ends are the p at which the share is z standard errors of p away."""
    right = data.draw(st.integers(0, count))
    low, high = wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1
    z = stats.norm.ppf(0.975)
    for end in (low, high):
        if 0 < end < 1:
            distance = abs(right / count - end)
            assert distance == pytest.approx(z * math.sqrt(end * (1 - end) / count), rel=1e-6, abs=1e-9)


def test_bootstrap_is_scipys_percentile_interval() -> None:
    values = np.random.default_rng(1).random(200)
    scipys = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, random_state=0)
    low, high = bootstrap_over_problems(values, seed=3, resamples=9999)
    assert (low, high) == pytest.approx(tuple(scipys.confidence_interval), abs=2e-3)


def test_bootstrap_is_the_same_for_the_same_seed_alone() -> None:
    values = [0.0, 1.0, 0.5, 0.25, 1.0, 0.0]
    assert bootstrap_over_problems(values, seed=1) == bootstrap_over_problems(values, seed=1)
    assert bootstrap_over_problems(values, seed=1) != bootstrap_over_problems(values, seed=2)


def test_groups_are_resampled_within_themselves() -> None:
    """Between groups there is no chance: constant groups of any sizes have a mean that does not vary."""
    assert bootstrap_over_problems([0.0] * 3 + [1.0] * 90, [0] * 3 + [1] * 90) == (0.5, 0.5)
    low, high = bootstrap_over_problems([0.0] * 3 + [1.0] * 90)
    assert low < 90 / 93 < high


def test_the_groups_interval_has_the_variance_of_a_mean_of_means() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random(400), generator.random(25)
    low, high = bootstrap_over_problems(np.concatenate([first, second]), [0] * 400 + [1] * 25, resamples=9999)
    error = math.sqrt(first.var() / 400 + second.var() / 25) / 2
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_a_missing_value_is_left_out_of_its_own_mean_only() -> None:
    means = resampled_means([[1.0, np.nan], [1.0, 0.5], [1.0, np.nan]], (0,))
    assert (means[:, 0] == 1.0).all()
    known = means[:, 1][~np.isnan(means[:, 1])]
    assert (known == 0.5).all()
    low, high = percentile_interval(np.full((5, 1), np.nan))
    assert np.isnan([low[0], high[0]]).all()
