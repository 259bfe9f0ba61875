"""Ten minutes of searches while the server is killed, replaced and pestered: is any search lost, wrong or without end?

    python benchmarks/search_soak.py --work DIR --json docs/results/search_server.json

64 tasks search through the project's client, each a tenth of a second after its last answer, and compare every answer
with the index opened in process. Meanwhile a worker is killed (SIGKILL) every 20 s, the whole server at two moments,
for 5 s; once all workers are replaced (SIGHUP); 36 connections misbehave throughout (`search_rude`). The second half
has no kills, so that the workers' memory can be followed: its last quarter is when their caches are full. A search
that fails after its client's deadline of 120 s is lost; one that has not ended 30 s later hangs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402

from benchmarks.search import SERVE  # noqa: E402
from benchmarks.search_index import build, environment, questions_of  # noqa: E402
from tr_grpo.search.client import SearchClient, SearchError  # noqa: E402
from tr_grpo.search.opening import open_index  # noqa: E402
from tr_grpo.search.settings import SearchSettings  # noqa: E402

CLIENTS = 64
THINK = 0.1
DEADLINE = 120.0
DISTINCT = 20_000


@dataclass
class Soak:
    """The server's processes, and what happened."""

    index: str
    port: int
    log: Any
    expected: dict[str, list[str]]
    began: float = field(default_factory=time.monotonic)
    process: subprocess.Popen[bytes] | None = None
    latencies: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    events: list[dict[str, Any]] = field(default_factory=list)
    memory: list[dict[str, Any]] = field(default_factory=list)

    def start(self) -> None:
        """Start the server, in a session of its own so that all of it can be killed."""
        command = [sys.executable, "-c", SERVE, "--index", self.index, "--port", str(self.port), "--workers", "2"]
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env=environment(), start_new_session=True
        )

    def workers(self) -> list[psutil.Process]:
        """The serving processes that live."""
        try:
            children = psutil.Process(self.process.pid).children() if self.process else []
            return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:
            return []

    def note(self, event: str) -> None:
        """Keep an event with its second."""
        self.counts[event] += 1
        self.events.append({"at": round(time.monotonic() - self.began, 1), "event": event})
        print(f"{self.events[-1]['at']:6.1f} s {event}", flush=True)

    async def search(self, client: SearchClient, until: float, seed: int) -> None:
        """One task: searches until the time is over."""
        order = random.Random(seed)
        questions = list(self.expected)
        while time.monotonic() < until:
            question = order.choice(questions)
            start = time.monotonic()
            try:
                async with asyncio.timeout(DEADLINE + 30):
                    hits = await client.search(question)
                self.counts["answered" if [hit.passage.id for hit in hits] == self.expected[question] else "wrong"] += 1
            except SearchError as error:
                self.note(f"lost: {error}")
                self.counts["lost"] += 1
            except TimeoutError:
                self.note("hanging")
            self.latencies.append(time.monotonic() - start)
            await asyncio.sleep(THINK)

    async def disturb(self, seconds: float) -> None:
        """Kills, in the first half."""
        order = random.Random(0)
        whole = [0.15 * seconds, 0.35 * seconds]
        hup = 0.48 * seconds
        next_kill = 20.0
        while (at := time.monotonic() - self.began) < 0.5 * seconds:
            await asyncio.sleep(0.2)
            if whole and at > whole[0]:
                whole.pop(0)
                self.note("server killed")
                os.killpg(self.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
                self.process.wait()  # type: ignore[union-attr]
                await asyncio.sleep(5)
                self.start()
                self.note("server started")
                next_kill = time.monotonic() - self.began + 20
            elif at > next_kill and (workers := self.workers()):
                order.choice(workers).kill()
                self.note("worker killed")
                next_kill = at + 20
            elif at > hup:
                hup = float("inf")
                self.note("workers replaced")
                self.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]

    async def watch(self, until: float) -> None:
        """The workers' memory and open files every 5 s."""
        while time.monotonic() < until:
            for worker in self.workers():
                try:
                    line = {"pid": worker.pid, "uss_mb": worker.memory_full_info().uss / 1e6, "fds": worker.num_fds()}
                except psutil.Error:
                    continue
                self.memory.append({"at": round(time.monotonic() - self.began, 1), **line})
            await asyncio.sleep(5)


def growth(memory: list[dict[str, Any]], since: float) -> dict[str, dict[str, float]]:
    """Each worker's own memory and files after ``since``: at first, at last, and the slope of a straight line."""
    found = {}
    for pid in dict.fromkeys(line["pid"] for line in memory if line["at"] >= since):
        lines = [line for line in memory if line["pid"] == pid and line["at"] >= since]
        if len(lines) < 6:
            continue
        slope = np.polyfit([line["at"] / 60 for line in lines], [line["uss_mb"] for line in lines], 1)[0]
        found[str(pid)] = {
            "first_mb": lines[0]["uss_mb"],
            "last_mb": lines[-1]["uss_mb"],
            "mb_a_minute": float(slope),
            "most_files": max(line["fds"] for line in lines),
            "last_files": lines[-1]["fds"],
        }
    return found


async def soak(state: Soak, seconds: float) -> dict[str, Any]:
    """Run it all; the report."""
    settings = SearchSettings(url=f"http://127.0.0.1:{state.port}", timeout_s=10.0, deadline_s=DEADLINE)
    state.start()
    client = SearchClient(settings)
    await client.search("is it there?")
    state.began = time.monotonic()
    until = state.began + seconds
    rude = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "benchmarks" / "search_rude.py"),
        str(state.port),
        str(seconds),
        stdout=subprocess.PIPE,
        env=environment(),
    )
    tasks = [state.search(client, until, seed) for seed in range(CLIENTS)]
    await asyncio.gather(*tasks, state.disturb(seconds), state.watch(until))
    await client.close()
    rude_report = json.loads((await rude.communicate())[0])
    await asyncio.sleep(15)  # idle: what is still open?
    idle = [worker.num_fds() for worker in state.workers()]
    async with aiohttp.ClientSession() as session, session.get(f"{settings.urls[0][:-9]}/metrics") as answer:
        metrics = (await answer.text()).splitlines()
    state.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
    status = state.process.wait(60)  # type: ignore[union-attr]
    p50, p99, most = np.percentile(state.latencies, [50, 99, 100]).tolist()
    return {
        "seconds": seconds,
        "counts": dict(state.counts),
        "p50_ms": p50 * 1000,
        "p99_ms": p99 * 1000,
        "longest_s": most,
        "memory": growth(state.memory, 0.75 * seconds),
        "idle_files": idle,
        "exit_status": status,
        "rude": rude_report,
        "statuses_since_last_start": [line for line in metrics if line.startswith("tr_grpo_search_requests_total{")],
        "events": state.events,
        "timeline": state.memory,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Run, print and keep the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for corpora and indexes")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    built = build(given.work, given.passages, "bm25")
    asked = json.loads(questions_of(Path(built["corpus"]), 1).read_text())[:DISTINCT]
    retriever = open_index(Path(built["index"]))
    found = retriever.search(asked, 3)
    expected = {question: [hit.passage.id for hit in hits] for question, hits in zip(asked, found, strict=True)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (given.work / "soak.log").open("wb") as log:
        result = asyncio.run(soak(Soak(built["index"], port, log, expected), given.seconds))
    result["tracebacks"] = (given.work / "soak.log").read_text(errors="replace").count("Traceback")
    print(json.dumps({key: value for key, value in result.items() if key not in ("events", "timeline")}, indent=1))
    report = json.loads(given.json.read_text()) if given.json.exists() else {}
    given.json.write_text(json.dumps(report | {"soak": result}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
