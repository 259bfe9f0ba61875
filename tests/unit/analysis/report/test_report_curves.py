"""Bands over seeds, thinning, and stacked shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.analysis.report.curves import BUCKETS, Band, band, columns_of_means, held_out, thin, trend
from tr_grpo.analysis.report.numbers import compact, short
from tr_grpo.analysis.report.reading import Column

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def column(values: dict[int, float]) -> Column:
    return Column(np.array(list(values), dtype=np.int64), np.array(list(values.values()), dtype=float))


@given(st.lists(FINITE, min_size=1, max_size=300), st.integers(4, 60))
def test_thinning_keeps_ends_and_extremes_and_invents_nothing(values: list[float], points: int) -> None:
    whole = band([column(dict(enumerate(values)))])
    thinned = thin(whole, points)
    assert len(thinned.steps) <= max(points, 2)
    assert (thinned.steps[0], thinned.steps[-1]) == (0, len(values) - 1)
    assert thinned.mean.min() == min(values)
    assert thinned.mean.max() == max(values)
    assert all(np.diff(thinned.steps) > 0)
    assert [values[step] for step in thinned.steps] == thinned.mean.tolist()


def test_a_spike_of_one_seed_survives_though_the_mean_hides_it() -> None:
    quiet = dict.fromkeys(range(2000), 1.0)
    whole = band([column(quiet), column(quiet | {777: 50.0}), column(quiet | {1234: -50.0})])
    thinned = thin(whole)
    assert len(thinned.steps) <= 400
    assert {777, 1234} <= set(thinned.steps.tolist())
    assert (thinned.high.max(), thinned.low.min()) == (50.0, -50.0)


def test_a_short_curve_is_left_as_it_is() -> None:
    whole = band([column({3: 1.0, 9: 2.0})])
    assert thin(whole) is whole


def test_a_band_is_over_the_seeds_that_have_the_step() -> None:
    whole = band([column({1: 1.0, 2: 4.0}), column({1: 3.0}), column({5: 7.0})])
    assert whole.steps.tolist() == [1, 2, 5]
    assert whole.mean.tolist() == [2.0, 4.0, 7.0]
    assert whole.low.tolist() == [1.0, 4.0, 7.0]
    assert whole.high.tolist() == [3.0, 4.0, 7.0]


@given(st.lists(st.lists(FINITE, min_size=3, max_size=3), min_size=1, max_size=6))
def test_the_mean_lies_in_the_band_and_seeds_have_no_order(seeds: list[list[float]]) -> None:
    columns = [column(dict(enumerate(values))) for values in seeds]
    whole, turned = band(columns), band(columns[::-1])
    assert (whole.low <= whole.mean).all()
    assert (whole.mean <= whole.high).all()
    assert turned.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-6)
    assert np.array_equal(turned.low, whole.low)


@given(st.integers(1, 400), st.integers(1, 50))
def test_stacked_shares_that_add_up_to_one_still_do(steps: int, columns: int) -> None:
    shares = np.random.default_rng(steps).dirichlet([1.0, 2.0, 3.0], steps)
    curves = [band([column(dict(enumerate(share)))]) for share in shares.T]
    starts, table = columns_of_means(curves, columns)
    assert len(starts) == len(table) == min(columns, steps)
    assert table.sum(1) == pytest.approx(1.0)
    lengths = np.diff([*starts, steps])
    assert (table * lengths[:, None]).sum(0) == pytest.approx(shares.sum(0))


def test_a_category_that_was_never_measured_is_undefined_not_zero() -> None:
    present = Band(np.array([1, 2]), np.array([0.25, 0.75]), np.array([0.25, 0.75]), np.array([0.25, 0.75]))
    _, table = columns_of_means([present, None])
    assert table[:, 0].tolist() == [0.25, 0.75]
    assert np.isnan(table[:, 1]).all()
    assert columns_of_means([None, None])[0] == []


def test_the_buckets_are_those_of_the_token_ledger() -> None:
    from tr_grpo.recipe import token_ledger

    assert BUCKETS == token_ledger.BUCKETS


def test_a_validation_metric_names_its_source() -> None:
    assert held_out("val-core/math500/acc/mean@8").title == "Held-out acc/mean@8, math500"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, 0.1235),
        (123456.0, 123500),
        (2.0, 2),
        (-0.0, 0),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
    ],
)
def test_numbers_are_short_and_what_is_no_number_is_null(value: float | None, shown: float | None) -> None:
    assert short(value) == shown


def test_equal_values_are_written_once() -> None:
    assert compact([2, 2, 2]) == 2
    assert compact([None, None]) is None
    assert compact([1, 2]) == [1, 2]
    assert compact([]) == []


def test_the_trend_of_a_line_is_the_line_and_noise_is_averaged_out() -> None:
    line = band([column({step: 2.0 * step + 1 for step in range(500)})])
    assert trend(line) == pytest.approx(line.mean)
    noise = np.random.default_rng(0).normal(0, 1, 2000)
    smooth = trend(band([column(dict(enumerate(noise.tolist())))]))
    assert smooth is not None
    assert smooth[500] == pytest.approx(noise[450:551].mean())
    assert (smooth[0], smooth[-1]) == pytest.approx((noise[0], noise[-1]))
    assert trend(band([column({1: 1.0})])) is None
