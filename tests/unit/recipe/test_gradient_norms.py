"""Gradient norms by update: largest, 95th percentile, variation, and updates that were skipped."""

import math

import pytest

from tr_grpo.recipe.gradient_norms import MAX_SKIPPED, WINDOW, GradientNorms

KEYS = {f"actor/update/{name}" for name in ("grad_norm_max", "grad_norm_p95", "grad_norm_variation", "skipped")}


def after(norms: list[float]) -> dict[str, float]:
    tracker = GradientNorms()
    for norm in norms[:-1]:
        tracker.add(norm)
    found = tracker.add(norms[-1])
    assert found.keys() == KEYS
    return {key.removeprefix("actor/update/"): value for key, value in found.items()}


def test_one_update_is_its_own_percentile_without_variation() -> None:
    assert after([3.0]) == {"grad_norm_max": 3.0, "grad_norm_p95": 3.0, "grad_norm_variation": 0.0, "skipped": 0.0}


def test_the_percentile_is_the_least_norm_that_95_of_100_do_not_exceed() -> None:
    assert after([float(n) for n in range(1, 101)])["grad_norm_p95"] == 95.0
    assert after([float(n) for n in range(100, 0, -1)])["grad_norm_p95"] == 95.0
    assert after([float(n) for n in range(1, 21)])["grad_norm_p95"] == 19.0
    assert after([float(n) for n in range(1, 20)])["grad_norm_p95"] == 19.0
    assert after([1.0, 9.0])["grad_norm_p95"] == 9.0


def test_the_variation_is_the_standard_deviation_over_the_mean() -> None:
    assert after([1.0, 3.0])["grad_norm_variation"] == pytest.approx(0.5)
    assert after([2.0] * 7)["grad_norm_variation"] == 0.0
    assert after([1.0, 2.0, 6.0])["grad_norm_variation"] == pytest.approx(math.sqrt(14 / 3) / 3)
    scaled = after([10.0, 20.0, 60.0])["grad_norm_variation"]
    assert scaled == pytest.approx(after([1.0, 2.0, 6.0])["grad_norm_variation"])


def test_the_largest_is_this_updates_norm_which_verl_takes_the_largest_of() -> None:
    """verl reduces a key with "max" over a step's updates, so each update reports its own."""
    assert after([9.0, 2.0])["grad_norm_max"] == 2.0
    assert "max" in "grad_norm_max"
    assert not [key for key in KEYS if "max" in key and key != "actor/update/grad_norm_max"]
    assert not [key for key in KEYS if "min" in key or "sum" in key]


@pytest.mark.parametrize("norm", [math.nan, math.inf, -math.inf])
def test_an_update_that_verl_skips_is_counted_and_leaves_the_window_alone(norm: float) -> None:
    before, found = after([1.0, 3.0]), after([1.0, 3.0, norm])
    assert found == before | {"grad_norm_max": 0.0, "skipped": 1.0}
    assert after([1.0, 3.0, norm, 3.0])["grad_norm_variation"] == after([1.0, 3.0, 3.0])["grad_norm_variation"]
    assert after([1.0, norm, 3.0])["skipped"] == 0.0


def test_with_only_skipped_updates_every_key_is_zero_but_the_skip() -> None:
    expected = {"grad_norm_max": 0.0, "grad_norm_p95": 0.0, "grad_norm_variation": 0.0, "skipped": 1.0}
    assert after([math.nan]) == expected


def test_gradients_of_zero_have_no_variation() -> None:
    assert after([0.0, 0.0]) == {
        "grad_norm_max": 0.0,
        "grad_norm_p95": 0.0,
        "grad_norm_variation": 0.0,
        "skipped": 0.0,
    }


def test_it_looks_back_over_a_hundred_updates() -> None:
    assert WINDOW == 100
    old = [1000.0] * 6
    assert after(old + [1.0] * 94)["grad_norm_p95"] == 1000.0
    assert after(old + [1.0] * 95)["grad_norm_p95"] == 1.0
    assert after(old + [1.0] * 99)["grad_norm_variation"] > 0
    assert after(old + [1.0] * 100)["grad_norm_variation"] == 0.0
    assert after(old + [math.nan, 1.0] * 94)["grad_norm_p95"] == 1000.0


def test_each_tracker_has_a_window_of_its_own() -> None:
    first, second = GradientNorms(), GradientNorms()
    first.add(100.0)
    assert second.add(1.0)["actor/update/grad_norm_p95"] == 1.0


def test_ten_skips_in_a_row_end_the_run_and_a_finite_norm_starts_the_count_again() -> None:
    norms = GradientNorms()
    for _ in range(MAX_SKIPPED - 1):
        norms.add(math.nan)
    norms.add(1.0)
    for _ in range(MAX_SKIPPED - 1):
        norms.add(math.inf)
    with pytest.raises(FloatingPointError, match="nan in 10 updates in a row, so none of them was applied"):
        norms.add(math.nan)
