"""The search client of the rollouts: pooled connections, retries with back-off up to a deadline, one circuit breaker.

It speaks Search-R1's ``/retrieve``, so it works with `tr-grpo serve-search` and with Search-R1's own server. A search
either returns what the server said or raises: an unreachable server never looks like a search without results.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from itertools import count
from weakref import WeakKeyDictionary

import aiohttp
import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay
from tenacity.wait import wait_random_exponential

from tr_grpo.search.breaker import CircuitBreaker
from tr_grpo.search.passage import Hit, Passage
from tr_grpo.search.settings import SearchSettings

OVERLOADED = 503
REFUSED = (400, 413, 414, 422)
"""What a server answers to a query that it will not take: too long, or not what it understands."""


class SearchError(RuntimeError):
    """The search engine did not answer a search, after all retries; the message says what the last one met."""


class SearchRefused(ValueError):
    """The server answered that it does not take this query: the fault is in the query, a retry would not help."""


class _TryAgain(Exception):
    """One request failed in a way that may pass."""

    def __init__(self, fault: str, after: float = 0.0) -> None:
        super().__init__(fault)
        self.after = after
        """Seconds that the server asked to be left alone."""


class SearchClient:
    """Searches for the trajectories of one process and one event loop; safe for many tasks at once."""

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        self.breaker = CircuitBreaker()
        self._turn = count()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.connections),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
            headers={"Content-Type": "application/json", **settings.headers()},
        )

    async def search(self, query: str) -> list[Hit]:
        """The passages for one query, best first; possibly none.

        Raises:
            SearchError: no answer within ``settings.deadline_s``, or one that no retry would change.
            SearchRefused: the server does not take this query.
        """
        began = time.monotonic()
        attempts = AsyncRetrying(
            stop=stop_before_delay(self.settings.deadline_s),
            wait=_wait,
            retry=retry_if_exception_type(_TryAgain),
            reraise=True,
        )
        try:
            return await attempts(self._attempt, query, began)
        except (_TryAgain, TimeoutError) as error:
            seconds = time.monotonic() - began
            fault = str(error) or "waited for a server that others found out of reach"
            raise SearchError(f"no answer from {', '.join(self.settings.urls)} in {seconds:.0f} s: {fault}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _attempt(self, query: str, began: float) -> list[Hit]:
        async with self.breaker.permit(began + self.settings.deadline_s - time.monotonic()):
            try:
                hits = await self._request(query)
            except _TryAgain as error:
                # An overloaded server is there; making everybody wait for one probe would not help it.
                if not error.after:
                    self._failed(error)
                raise
            self.breaker.succeeded()
            return hits

    async def _request(self, query: str) -> list[Hit]:
        url = self.settings.urls[next(self._turn) % len(self.settings.urls)]
        body = orjson.dumps({"queries": [query], "topk": self.settings.top_k, "return_scores": True})
        try:
            async with self._session.post(url, data=body) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _TryAgain(f"{type(error).__name__} {error}".strip()) from error
        if response.status in REFUSED:
            raise SearchRefused(f"{url} answered {response.status}: {_line(content)}")
        if response.status != 200:
            fault = f"{url} answered {response.status}: {_line(content)}"
            if response.status in (401, 403, 404):
                raise SearchError(f"{fault}; check search.url and search.token_file")
            overloaded = response.status == OVERLOADED
            raise _TryAgain(fault, _pause(response.headers.get("Retry-After")) if overloaded else 0.0)
        try:
            return read_hits(content)
        except ValueError as error:
            raise _TryAgain(f"{url} answered what is no result: {error}") from error

    def _failed(self, error: _TryAgain) -> None:
        """Tell the breaker; one line when it opens, not one a trajectory and retry."""
        was_open = self.breaker.is_open
        self.breaker.failed()
        if self.breaker.is_open and not was_open:
            # Not by logging: in verl's rollout processes the import of vLLM's parts disables the loggers that exist.
            line = f"search: {error}; retrying, each search for up to {self.settings.deadline_s:.0f} s"
            print(line, file=sys.stderr, flush=True)


def read_hits(content: bytes) -> list[Hit]:
    """The hits of a ``/retrieve`` answer to one query, with or without scores; ValueError if it is none."""
    answer = orjson.loads(content)
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, list) or len(result) != 1 or not isinstance(result[0], list):
        raise ValueError("`result` must be a list with one list of documents")
    return [_hit(entry) for entry in result[0]]


def _hit(entry: object) -> Hit:
    if isinstance(entry, dict) and "document" in entry:
        return Hit(Passage.of_wire(entry["document"]), float(entry.get("score") or 0.0))
    return Hit(Passage.of_wire(entry), 0.0)


_backoff = wait_random_exponential(multiplier=0.2, max=5.0)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(_backoff(state), error.after if isinstance(error, _TryAgain) else 0.0)


def _line(content: bytes) -> str:
    return " ".join(content[:300].decode(errors="replace").split())


def _pause(header: str | None) -> float:
    """Retry-After in seconds; 1 where the server names a date or nothing."""
    return float(header) if header and header.isdecimal() else 1.0


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[SearchSettings, SearchClient]] = WeakKeyDictionary()


def shared_client(settings: SearchSettings) -> SearchClient:
    """The client of the running event loop for these settings; made at the first call.

    verl makes an agent loop for each trajectory; their connections and their circuit breaker must be one.
    """
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    if settings not in clients:
        clients[settings] = SearchClient(settings)
    return clients[settings]


def passages(hits: Sequence[Hit]) -> list[Passage]:
    """The passages of ``hits``, in order."""
    return [hit.passage for hit in hits]
