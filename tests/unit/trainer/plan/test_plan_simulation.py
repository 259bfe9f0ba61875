"""The simulation against closed forms, and what staleness may and may not do."""

import numpy as np
import pytest

from tr_grpo.trainer.plan.simulation import Lengths, Mode, Pace, best_split, lognormal, simulate


def always(tokens: float) -> Lengths:
    return lambda generator, count: np.full(count, tokens)


def exponential(mean: float) -> Lengths:
    return lambda generator, count: generator.exponential(mean, count)


def test_equal_lengths_leave_nothing_to_gain_but_the_updates() -> None:
    pace = Pace(batch=16, slots=16, token_s=0.5, update_s=0.0, staleness=3)
    seconds = {mode: simulate(mode, pace, always(10), 20).seconds for mode in Mode}
    assert seconds == {mode: pytest.approx(20 * 10 * 0.5) for mode in Mode}


def test_in_turns_a_step_is_the_longest_response_and_the_update() -> None:
    seen = simulate(Mode.SYNC, Pace(8, 8, 0.5, 7.0), always(10), 5)
    assert seen.seconds == pytest.approx(5 * (10 * 0.5 + 7.0))
    assert seen.busy == pytest.approx(5.0 / 12.0)
    assert seen.age == 0


@pytest.mark.parametrize(("update", "step"), [(3.0, 5.0), (9.0, 9.0)])
def test_one_step_apart_the_slower_of_the_two_decides(update: float, step: float) -> None:
    seen = simulate(Mode.ONE_STEP_OFF, Pace(8, 8, 0.5, update), always(10), 6)
    # The first rollout and the last update stand alone.
    assert seen.seconds == pytest.approx(5.0 + 5 * step + update)
    # All but the first batch were begun one update before their own.
    assert seen.age == pytest.approx(5 / 6)


def test_half_the_slots_take_twice_as_long() -> None:
    whole, half = (simulate(Mode.SYNC, Pace(16, slots, 1.0, 0.0), always(10), 4).seconds for slots in (16, 8))
    assert half == pytest.approx(2 * whole)


def test_the_longest_of_exponential_lengths_is_a_harmonic_number() -> None:
    """Rényi 1953: the expected maximum of n exponentials of mean m is m · (1 + 1/2 + … + 1/n)."""
    n, batches = 16, 3000
    seen = simulate(Mode.SYNC, Pace(n, n, 1.0, 0.0), exponential(5.0), batches, seed=1)
    harmonic = sum(1 / k for k in range(1, n + 1))
    # The maximum's variance is m² · Σ 1/k² (1.58 for 16): a standard error of 0.1 over 3,000 batches.
    error = 5.0 * np.sqrt(sum(1 / k**2 for k in range(1, n + 1)) / batches)
    assert abs(seen.seconds / batches - 5.0 * harmonic) < 4 * error


def test_refilled_slots_gain_the_harmonic_number_where_staleness_allows_it() -> None:
    n, batches = 8, 800
    pace = Pace(n, n, 1.0, 0.0, staleness=60)
    in_turns, refilled = (simulate(mode, pace, exponential(5.0), batches, seed=2) for mode in (Mode.SYNC, Mode.ASYNC))
    harmonic = sum(1 / k for k in range(1, n + 1))
    assert refilled.throughput / in_turns.throughput == pytest.approx(harmonic, rel=0.05)
    assert refilled.busy == pytest.approx(1.0, abs=0.02)


def test_more_staleness_is_never_slower_and_its_bound_holds() -> None:
    draw = lognormal(100, 1.0)
    seen = [simulate(Mode.ASYNC, Pace(32, 32, 1.0, 20.0, staleness=s), draw, 60, seed=3) for s in (0, 1, 2, 4)]
    rates = [each.throughput for each in seen]
    assert rates == sorted(rates)
    for bound, each in zip((0, 1, 2, 4), seen, strict=True):
        assert each.age <= bound + 1
    assert seen[0].age == 0
    assert seen[0].seconds == pytest.approx(simulate(Mode.SYNC, Pace(32, 32, 1.0, 20.0), draw, 60, seed=3).seconds)


def test_a_seed_decides_everything() -> None:
    pace, draw = Pace(8, 4, 1.0, 2.0), lognormal(50, 1.0)
    one, same, other = (simulate(Mode.ASYNC, pace, draw, 10, seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_lengths_have_their_mean_and_limit() -> None:
    drawn = lognormal(100, 1.0)(np.random.default_rng(0), 200_000)
    assert drawn.mean() == pytest.approx(100, rel=0.02)
    assert lognormal(100, 1.0, limit=150)(np.random.default_rng(0), 1000).max() == 150


def test_the_best_split_is_at_least_as_fast_as_an_even_one() -> None:
    pace, draw = Pace(16, 16, 1.0, 30.0, staleness=2), lognormal(100, 0.8)
    share, best = best_split(Mode.ASYNC, pace, draw, 20)
    even = simulate(Mode.ASYNC, Pace(16, 8, 1.0, 60.0, staleness=2), draw, 20)
    assert 0 < share < 1
    assert best.throughput >= even.throughput
