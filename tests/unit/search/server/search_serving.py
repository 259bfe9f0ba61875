"""Servers for the tests: real uvicorn, real sockets, over a retriever small enough to reckon by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import uvicorn

from tr_grpo.search.passage import Hit, Passage
from tr_grpo.search.server.app import build_app
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.protocol import uvicorn_config
from tr_grpo.search.server.source import Opened

HERE = Path(__file__).parent
PASSAGES = [
    Passage("0", "Velden", "Velden is a town in Orlia."),
    Passage("1", "Orlia", "Orlia is a country by the sea."),
    Passage("2", "Müllér 漢字", 'He said "so";\nand wrote a second line \U0001f600.'),
    Passage("3", "", "A town without a title."),
    Passage("4", "Mia Tolan", "Mia Tolan was born in Velden."),
]


def words_of(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


class OverlapRetriever:
    """The share of a passage's words that the query has; ties by place."""

    name = "overlap"

    def __init__(self, passages: Sequence[Passage] = PASSAGES) -> None:
        self.documents = passages
        self.passages = len(passages)
        self.words = [words_of(passage.contents) for passage in passages]
        self.batches: list[list[str]] = []

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        self.batches.append(list(queries))
        return [self._search(query, top_k) for query in queries]

    def _search(self, query: str, top_k: int) -> list[Hit]:
        words = words_of(query)
        scores = [(len(words & own) / len(own), row) for row, own in enumerate(self.words)]
        best = sorted((pair for pair in scores if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))
        return [Hit(self.documents[row], score) for score, row in best[:top_k]]


class GatedRetriever(OverlapRetriever):
    """Waits at a gate; ``entered`` says that a batch has come to it."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        self.entered.release()
        self.gate.wait(60)
        return super().search(queries, top_k)


@dataclass
class Running:
    """A server, by its address."""

    url: str
    retriever: Any = None

    def post(self, body: Any, path: str = "/retrieve", **more: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, timeout=30, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=30, **more)

    def search(self, queries: Sequence[str], topk: int | None = 3) -> list[list[dict[str, Any]]]:
        """What Search-R1's client does with its answer."""
        return self.post({"queries": queries, "topk": topk, "return_scores": True}).json()["result"]

    def connect(self) -> socket.socket:
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples in /metrics."""
        lines = self.get("/metrics").text.splitlines()
        prefix = "tr_grpo_search_" + name
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((prefix + " ", prefix + "{")))


@contextmanager
def serving(
    retriever: Any = None, token: str | None = None, facts: Any = None, port: int = 0, **limits: Any
) -> Iterator[Running]:
    """A server in a thread of this process."""
    retriever = retriever or OverlapRetriever()

    async def known() -> dict[str, Any]:
        return {"retriever": retriever.name, "passages": retriever.passages, "manifest_sha256": "00"}

    bounds = Limits(**limits)
    config = uvicorn_config(
        lambda: build_app(Opened(retriever, facts or known), bounds, token), bounds, factory=True, log_level="error"
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", port), backlog=512)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", retriever)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@dataclass
class Program(Running):
    """A server in processes of its own."""

    process: Any = None
    output: list[str] = field(default_factory=list)

    def workers(self) -> list[int]:
        """The pids of the processes that serve (multiprocessing keeps a tracker beside them)."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in map(int, (task / "children").read_text().split()):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def program(*arguments: str, **settings: Any) -> Iterator[Program]:
    """``search_program.py`` with the given source, or what ``arguments`` name in its place, once it serves."""
    command = [sys.executable, *(arguments or [str(HERE / "search_program.py"), json.dumps(settings)])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(HERE)})
    try:
        line = process.stdout.readline()
        assert " on http://" in line, line
        yield Program(line.split()[-1].removesuffix("/retrieve"), process=process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        process.stdout.close()


def until(condition: Any, seconds: float = 60.0) -> None:
    """Wait for a condition that is certain to come; AssertionError if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
