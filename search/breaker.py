"""A circuit breaker that makes callers wait instead of fail: one a process, for all its trajectories.

A training step has hundreds of trajectories. When the server goes away, each of them retrying on its own would meet
the restarted server with a flood. So after a few failures in a row the circuit opens: one caller at a time tries
the server, the others wait until it succeeds or their own deadline passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CircuitBreaker:
    """For the tasks of one event loop. ``failures_to_open`` failures in a row open it, one success closes it."""

    def __init__(self, failures_to_open: int = 5) -> None:
        self.failures_to_open = failures_to_open
        self.is_open = False
        """True while only one caller at a time may try."""
        self._failures = 0
        self._probing = False
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def permit(self, seconds: float) -> AsyncIterator[None]:
        """Wait for leave to try once; TimeoutError if it does not come within ``seconds``.

        The caller reports the outcome with ``succeeded`` or ``failed`` before it leaves.
        """
        async with asyncio.timeout(seconds):
            while self.is_open and self._probing:
                await self._changed.wait()
        # No await since the last look, so no other task can have taken the probe.
        probing = self.is_open
        self._probing = self._probing or probing
        try:
            yield
        finally:
            if probing:
                self._probing = False
                self._announce()

    def succeeded(self) -> None:
        """The server answered: everybody may go on."""
        self._failures = 0
        if self.is_open:
            self.is_open = False
            self._announce()

    def failed(self) -> None:
        """The server did not answer."""
        self._failures += 1
        self.is_open = self._failures >= self.failures_to_open

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
