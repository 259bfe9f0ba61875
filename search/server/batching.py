"""Queries of many requests become batches for one retriever: bounded, in order of arrival, without waiting for more.

The event loop owns everything but the retriever, which runs in one thread of its own. While a batch is searched, the
requests that arrive meanwhile wait and become the next one; an idle server passes a query on at once. Only queries
with the same top-k share a batch, so that no retriever can answer a request otherwise than it would alone.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

from tr_grpo.search.retriever import Retriever
from tr_grpo.search.server.cache import AnswerCache, Key
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.metrics import Metrics
from tr_grpo.search.server.wire import RETRY_AFTER, Refusal, encode

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Job:
    """What one request has to ask of the retriever: its queries without those that the cache answered."""

    queries: tuple[str, ...]
    top_k: int
    scored: bool
    answer: asyncio.Future[dict[str, bytes]]

    def key(self, query: str) -> Key:
        return Key(query, self.top_k, self.scored)


Outcome = dict[str, bytes] | Exception


class Batcher:
    """Answers searches on the running event loop; ``close`` ends its thread."""

    def __init__(self, retriever: Retriever, limits: Limits, metrics: Metrics) -> None:
        self._retriever = retriever
        self._limits = limits
        self._metrics = metrics
        self._cache = AnswerCache(limits.cache_mb)
        self._jobs: deque[Job] = deque()
        self._waiting = 0  # queries in self._jobs and in the batch
        self._batch_began: float | None = None
        self._loop = asyncio.get_running_loop()
        self._batches: SimpleQueue[list[Job] | None] = SimpleQueue()
        # A daemon, so that a retriever that never comes back cannot keep the process from ending.
        threading.Thread(target=self._work, name="retriever", daemon=True).start()

    async def search(self, queries: Sequence[str], top_k: int, scored: bool) -> list[bytes]:
        """The encoded answer to each query. Cancelling gives the place in the queue back.

        Raises Refusal (503) if the queue is full, and what the retriever raised.
        """
        distinct = dict.fromkeys(queries)
        answers = {query: answer for query in distinct if (answer := self._cache.get(Key(query, top_k, scored)))}
        missing = tuple(query for query in distinct if query not in answers)
        self._metrics.queries.inc(len(queries))
        if answers:
            self._metrics.cached.inc(sum(query in answers for query in queries))
        if missing:
            answers |= await self._ask(Job(missing, top_k, scored, self._loop.create_future()))
        return [answers[query] for query in queries]

    def busy_seconds(self) -> float:
        """For how long the retriever has been at its present batch; 0 while it has none."""
        return 0.0 if self._batch_began is None else time.monotonic() - self._batch_began

    def close(self) -> None:
        """End the thread after the batch at hand."""
        self._batches.put(None)

    async def _ask(self, job: Job) -> dict[str, bytes]:
        size = len(job.queries)
        if self._waiting + size > self._limits.max_waiting:
            raise Refusal(503, f"{self._waiting} queries are waiting already; try again later", RETRY_AFTER)
        self._count(size)
        self._jobs.append(job)
        self._next_batch()
        try:
            return await job.answer
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is being searched, and counted until that ends
                self._jobs.remove(job)
                self._count(-size)
            raise

    def _count(self, queries: int) -> None:
        self._waiting += queries
        self._metrics.waiting.inc(queries)

    def _next_batch(self) -> None:
        """Give the thread its next batch, unless it is busy."""
        while self._jobs and self._batch_began is None:
            batch = self._answer_from_cache(self._take_jobs())
            if batch:
                self._batch_began = time.monotonic()
                self._batches.put(batch)

    def _take_jobs(self) -> list[Job]:
        """The oldest job, and those after it that fit into its batch."""
        batch: list[Job] = []
        left: deque[Job] = deque()
        room = self._limits.max_batch
        for job in self._jobs:
            if not batch or (job.top_k == batch[0].top_k and len(job.queries) <= room):
                batch.append(job)
                room -= len(job.queries)
            else:
                left.append(job)
        self._jobs = left
        return batch

    def _answer_from_cache(self, batch: list[Job]) -> list[Job]:
        """The jobs that are left: what a batch before answered while a job waited needs no second search."""
        left = []
        for job in batch:
            found = {query: answer for query in job.queries if (answer := self._cache.get(job.key(query)))}
            if len(found) < len(job.queries):
                left.append(job)
            else:
                self._finish(job, found)
        return left

    def _batch_done(self, batch: list[Job], outcomes: list[Outcome], queries: int) -> None:
        seconds = self.busy_seconds()
        self._batch_began = None
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_queries.observe(queries)
        for job, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                for query, answer in outcome.items():
                    self._cache.put(job.key(query), answer)
            self._finish(job, outcome)
        self._next_batch()

    def _finish(self, job: Job, outcome: Outcome) -> None:
        self._count(-len(job.queries))
        if isinstance(outcome, Exception):
            self._metrics.failures.labels(type(outcome).__name__).inc()
        if job.answer.done():  # its request was cancelled
            return
        if isinstance(outcome, Exception):
            job.answer.set_exception(outcome)
        else:
            job.answer.set_result(outcome)

    # From here on: the retriever's thread.

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            queries = len(set().union(*(job.queries for job in batch)))
            outcomes = self._outcomes(batch)
            with suppress(RuntimeError):  # the loop was closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._batch_done, batch, outcomes, queries)

    def _outcomes(self, batch: list[Job]) -> list[Outcome]:
        """An answer or an exception for each job. A failed batch is tried job by job: a bad query harms no other."""
        try:
            return list(self._answers(batch))
        except Refusal as error:
            return [error] * len(batch)
        except Exception as error:
            if len(batch) > 1:
                return [outcome for job in batch for outcome in self._outcomes([job])]
            log.exception("the retriever failed on %d queries with top_k=%d", len(batch[0].queries), batch[0].top_k)
            return [error]

    def _answers(self, batch: list[Job]) -> list[Outcome]:
        wanted = dict.fromkeys(job.key(query) for job in batch for query in job.queries)
        queries = list(dict.fromkeys(key.query for key in wanted))
        encoded: dict[Key, bytes] = {}
        for start in range(0, len(queries), self._limits.max_batch):
            if all(job.answer.done() for job in batch):
                break  # all requests were cancelled: deadline, or the server is stopping
            part = queries[start : start + self._limits.max_batch]
            top_k = batch[0].top_k
            for query, hits in zip(part, self._retriever.search(part, top_k), strict=True):
                for key in (Key(query, top_k, True), Key(query, top_k, False)):
                    if key in wanted:
                        encoded[key] = encode(hits, key.scored)
        return [{q: encoded[job.key(q)] for q in job.queries if job.key(q) in encoded} for job in batch]
