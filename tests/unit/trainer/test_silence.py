"""Silence is counted while somebody waits, by a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.trainer.silence import PAUSE_S, Silence, SilenceError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0.01, PAUSE_S), st.booleans()), max_size=60), st.floats(1.0, 200.0))
def test_it_ends_exactly_when_nothing_changed_for_longer_than_the_limit(
    looks: list[tuple[float, bool]], limit: float
) -> None:
    clock = Clock()
    silence, state, since = Silence(limit, clock), 0, clock.now
    silence.observe(state)
    for wait, changes in looks:
        clock.now += wait
        if changes:
            state, since = state + 1, clock.now
        if clock.now - since > limit:
            with pytest.raises(SilenceError, match="nothing came for"):
                silence.observe(state)
            return
        assert silence.observe(state) == clock.now - since


def test_a_pause_in_which_nobody_looked_does_not_count() -> None:
    """A long update between two batches is no silence of the rollouts."""
    clock = Clock()
    silence = Silence(1000.0, clock)
    silence.observe("same")
    clock.now += 999_999.0
    assert silence.observe("same") == 0.0
    clock.now += PAUSE_S
    assert silence.observe("same") == PAUSE_S
