"""Paired comparisons: closed cases of the interval and of the sign-flip test."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from tr_grpo.analysis.paired import bootstrap, compare, pairs_needed, power, sign_flip, smallest_p, t_interval


@pytest.mark.parametrize("n", [3, 5, 7])
def test_differences_of_one_sign_have_the_smallest_p(n: int) -> None:
    assert sign_flip(np.arange(1.0, n + 1)) == pytest.approx(2 / 2**n)


def test_p_is_the_share_of_sign_patterns_counted_by_hand() -> None:
    # |±1 ±2 ±4| >= |1 + 2 - 4| = 1: every one of the eight patterns; >= |-1 + 2 + 4| = 5: ±(1+2+4), ±(-1+2+4).
    assert sign_flip(np.array([1.0, 2.0, -4.0])) == 1.0
    assert sign_flip(np.array([-1.0, 2.0, 4.0])) == pytest.approx(4 / 8)


def test_no_difference_has_p_one_and_an_interval_of_no_width() -> None:
    result = compare([0.5, 0.25, 0.75], [0.5, 0.25, 0.75])
    assert (result.mean, result.low, result.high, result.p, result.pairs) == (0.0, 0.0, 0.0, 1.0, 3)


def test_a_constant_shift_is_found_exactly() -> None:
    result = compare([1.5, 2.5, 3.5, 4.5], [1.0, 2.0, 3.0, 4.0])
    assert (result.mean, result.low, result.high) == (0.5, 0.5, 0.5)
    assert result.p == pytest.approx(2 / 16)


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(0)
    shared, noise = rng.normal(0, 10, 40), rng.normal(0, 0.1, 40)
    result = compare(list(shared + 0.5 + noise), list(shared))
    assert 0.4 < result.low < result.mean < result.high < 0.6


def test_the_interval_is_that_of_the_resampled_mean() -> None:
    # Of two values, the resampled mean is the lower, the middle or the upper with 1/4, 1/2, 1/4.
    assert bootstrap(np.array([0.0, 1.0])) == (0.0, 1.0)
    differences = np.random.default_rng(1).normal(2.0, 1.0, 400)
    low, high = bootstrap(differences)
    half = 1.96 * differences.std() / 20
    assert (low, high) == pytest.approx((differences.mean() - half, differences.mean() + half), abs=0.02)


def test_the_interval_of_few_normal_pairs_covers_less_than_it_says() -> None:
    # What the module's text warns of.
    rng = np.random.default_rng(2)
    covered = [low <= 0 <= high for low, high in (bootstrap(rng.normal(size=5)) for _ in range(200))]
    assert 0.75 < np.mean(covered) < 0.92


def test_fewer_than_two_pairs_and_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="2 pairs"):
        compare([1.0], [2.0])
    with pytest.raises(ValueError, match="2 pairs"):
        compare([1.0, 2.0], [2.0])
    with pytest.raises(ValueError, match="not finite"):
        compare([1.0, float("nan")], [2.0, 1.0])


@pytest.mark.parametrize("n", [2, 5, 9, 13, 14, 40])
def test_no_p_is_below_the_smallest(n: int) -> None:
    assert sign_flip(np.arange(1.0, n + 1)) == pytest.approx(smallest_p(n))
    assert smallest_p(1) == 1


# Cohen's effect and the pairs of a two-sided paired t-test at 5 % and 80 %, as G*Power prints them.
@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_pairs_needed_are_those_of_the_tables(effect: float, pairs: int) -> None:
    unit = np.array([-1.0, 1.0]) / np.sqrt(2)  # standard deviation 1
    assert pairs_needed(effect + unit) == pairs
    assert pairs_needed(-effect - unit) == pairs
    assert power(effect, pairs) >= 0.8 > power(effect, pairs - 1)


def test_power_without_a_difference_is_the_level() -> None:
    assert power(0.0, 8) == pytest.approx(0.05)


def test_power_is_the_share_of_tests_that_find_it() -> None:
    rng = np.random.default_rng(3)
    t = stats.ttest_1samp(rng.normal(0.9, 1.0, (20_000, 7)), 0.0, axis=1)
    assert np.mean(t.pvalue < 0.05) == pytest.approx(power(0.9, 7), abs=0.015)


def test_no_difference_needs_no_number_and_one_without_spread_the_least() -> None:
    assert pairs_needed([0.1, -0.1]) is None
    assert pairs_needed([1e-9, 1.0, -1.0]) is None
    assert pairs_needed([0.5, 0.5, 0.5]) == 2


def test_a_unit_changes_no_number_of_pairs() -> None:
    differences = [0.011, 0.043, -0.008, 0.027]
    assert pairs_needed(differences) == pairs_needed([100 * difference for difference in differences])


def test_the_t_interval_covers_what_it_says_for_few_normal_values() -> None:
    rng = np.random.default_rng(4)
    covered = [low <= 0 <= high for low, high in (t_interval(rng.normal(size=3)) for _ in range(2000))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
    assert t_interval([1.0, 3.0]) == pytest.approx((2 - 12.706, 2 + 12.706), abs=0.001)


@pytest.mark.parametrize("function", [t_interval, pairs_needed])
def test_one_value_has_no_spread(function: Callable[[Sequence[float]], object]) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        function([1.0])
