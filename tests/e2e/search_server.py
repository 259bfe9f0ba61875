"""The world of facts, its index and a search server as a user starts it."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tr_grpo.data_prep.facts import FactsConfig, build_facts
from tr_grpo.search.build import BuildConfig, build_index
from tr_grpo.search.reading import CorpusConfig


def make_facts(folder: Path) -> Path:
    """Questions, corpus and BM25 index (in ``index``)."""
    build_facts(FactsConfig(folder))
    build_index(BuildConfig(CorpusConfig((folder / "corpus.jsonl",)), folder / "index"))
    return folder


@dataclass
class SearchServer:
    """``tr-grpo serve-search`` in a process of its own; ``start`` after ``kill`` takes the same port."""

    index: Path
    port: int = 0
    process: subprocess.Popen | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "tr_grpo.trainer.cli", "serve-search"]
        self.process = subprocess.Popen(
            [*command, "--index", str(self.index), "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(300):
            try:
                if requests.get(f"{self.url}/ready", timeout=1).ok:
                    return
            except requests.RequestException:  # not listening yet, or busy opening the index
                assert self.process.poll() is None, "the search server ended at its start"
            time.sleep(0.1)
        raise AssertionError("the search server did not get ready")

    def kill(self) -> None:
        """kill -9 of the server and its workers."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
