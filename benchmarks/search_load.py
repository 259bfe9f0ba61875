"""Clients for the benchmarks of search servers: each sends its next question as soon as it has its answer.

They speak HTTP on bare sockets, as a client library's own time (400 µs of the processor a request with aiohttp) would
be measured in place of the server's. A client takes whatever Content-Length a 200 has, and stops the run at all else.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvloop


@dataclass(frozen=True)
class Load:
    """What is asked, and for how long."""

    host: str
    port: int
    clients: int
    seconds: float
    questions: str
    """File with a JSON list. All clients together go through it once before any question comes again."""
    first: int = 0
    """Place in the list where this run begins."""
    top_k: int = 3
    queries: int = 1
    """Of one request."""


class Client(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], until: float) -> None:
        self._requests = requests
        self._latencies = latencies
        self._until = until
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = int(self._buffer.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(self._buffer) < head + 4 + length:
            return
        now = time.perf_counter()
        if not self._buffer.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(self._buffer[:300].decode(errors="replace")))
            return
        self._latencies.append(now - self._sent)
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc) if exc else self.done.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))


def requests(load: Load) -> Iterator[bytes]:
    """Whole requests; all clients take the next one from here."""
    asked = json.loads(Path(load.questions).read_text())
    for start in count(load.first, load.queries):
        queries = [asked[(start + offset) % len(asked)] for offset in range(load.queries)]
        body = orjson.dumps({"queries": queries, "topk": load.top_k, "return_scores": True})
        yield (
            b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (
                len(body),
                body,
            )
        )


async def run(load: Load) -> dict[str, Any]:
    """Requests a second and the quantiles of their latency in milliseconds, after a tenth of the time to get going."""
    loop = asyncio.get_running_loop()
    stream = requests(load)
    latencies: list[float] = []
    start = time.perf_counter()
    makers = [lambda: Client(stream, latencies, start + load.seconds)] * load.clients
    clients = [(await loop.create_connection(maker, load.host, load.port))[1] for maker in makers]
    await asyncio.sleep(start + load.seconds / 10 - time.perf_counter())
    skipped, began, cpu = len(latencies), time.perf_counter(), time.process_time()
    await asyncio.gather(*(client.done for client in clients))
    seconds = time.perf_counter() - began
    counted = np.array(latencies[skipped:]) * 1000
    p50, p95, p99 = np.percentile(counted, [50, 95, 99]).tolist()
    rate = len(counted) / seconds
    return asdict(load) | {
        "answers": len(latencies),
        "rate": rate * load.queries,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "client_cpu_us": (time.process_time() - cpu) / max(1, len(counted)) * 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(Load(**json.loads(sys.argv[1]))))))
