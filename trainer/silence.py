"""Ends a run whose rollouts have stopped coming: a reward or a vLLM that hangs would be waited for without end."""

import time
from collections.abc import Callable, Hashable

PAUSE_S = 60.0
"""Without a look for so long, nobody was waiting: the trainer was busy with something else."""


class SilenceError(RuntimeError):
    """Nothing came for as long as was allowed."""


class Silence:
    """Measures how long something that is looked at again and again has not changed.

    Args:
        limit_s: seconds that it may stay the same while it is waited for.
        clock: seconds, never backwards (a wall clock may jump).
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s, self._clock = limit_s, clock
        self._state: Hashable = None
        self._since = self._looked = clock()

    def observe(self, state: Hashable) -> float:
        """Take note of ``state``; returns the seconds for which it has been the same.

        Raises:
            SilenceError: they are more than ``limit_s``.
        """
        now = self._clock()
        if state != self._state or now - self._looked > PAUSE_S:
            self._state, self._since = state, now
        self._looked = now
        silent = now - self._since
        if silent > self.limit_s:
            raise SilenceError(f"nothing came for {silent:.0f} s")
        return silent
