"""What the server counts, for Prometheus; true for all workers together.

With PROMETHEUS_MULTIPROC_DIR set (the supervisor does it) prometheus_client keeps each worker's numbers in a file
there, and whichever worker is asked adds them up. The files of a dead worker stay, so no counter falls.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PREFIX = "tr_grpo_search_"


class Metrics:
    """The counters of one worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests to /retrieve, by HTTP status", "status")
        self._by_status: dict[int, Counter] = {}  # looking a label up takes as long as counting
        self.hang_ups = self._counter("hang_ups", "Requests to /retrieve whose client left before their end")
        self.queries = self._counter("queries", "Queries of accepted requests")
        self.cached = self._counter("cached_queries", "Queries answered from the cache")
        self.failures = self._counter("retriever_failures", "Requests that the retriever failed, by exception", "error")
        self._request_seconds = self._histogram("request_seconds", "From a request's headers to its answer", SECONDS)
        self.batch_seconds = self._histogram("batch_seconds", "The retriever's time for a batch", SECONDS)
        self.batch_queries = self._histogram("batch_queries", "Distinct queries of a batch", SIZES)
        self.waiting = Gauge(
            f"{PREFIX}waiting_queries",
            "Queries accepted and not answered yet",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(PREFIX + name, text, buckets=buckets, registry=self._registry)

    def answered(self, status: int, seconds: float) -> None:
        """Count one answer to /retrieve."""
        if status not in self._by_status:
            self._by_status[status] = self._requests.labels(str(status))
        self._by_status[status].inc()
        self._request_seconds.observe(seconds)

    def render(self) -> bytes:
        """All workers' numbers in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
