"""Searches a second of the search server, beside the bare library and Search-R1's design; and what size costs.

    python benchmarks/search.py serve --work DIR --kind bm25 --json docs/results/search_server.json
    python benchmarks/search.py sizes --work DIR --passages 10000 100000 1000000 --json docs/results/search_server.json

``serve`` measures one kind of index with 1 to 128 clients, each of which sends one question at a time (`search_load`),
top 3, with scores. No question helps another: the cache is off, unless --repeat has each question come several times
in a row, as from a group of rollouts. All servers run at once and are asked in turn, so that
a machine with other work is as busy for one as for the other; a number is the median over rounds. The processors' time
a search is measured too: it depends less on what else the machine does. *In process* is the
same retriever in a loop of one thread, without a server: one question a call, and 32 a call; the better one counts.
``search_r1_server`` is the peer. The corpus is made up (`search_corpus`); a dense index's vectors of passages are
random, as its cost does not depend on them, while questions go through the real encoder.

``sizes`` builds a BM25 index of each size in a process of its own, and serves it. --work keeps corpora and indexes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
from rich.console import Console  # noqa: E402

from benchmarks.search_index import build, environment, questions_of  # noqa: E402
from benchmarks.search_load import Load  # noqa: E402
from benchmarks.search_report import serving  # noqa: E402

CLIENTS = (1, 8, 32, 64, 128)
SERVE = "import typer; from tr_grpo.search.serve_command import serve_search; typer.run(serve_search)"
PACKAGES = ("bm25s", "faiss-cpu", "sentence-transformers", "fastapi", "uvicorn", "numba")


@dataclass(frozen=True)
class Server:
    """What is measured."""

    name: str
    command: tuple[str, ...]
    """Without its port."""


def servers(index: Path, kind: str, cached: bool) -> list[Server]:
    """Ours with one worker and with one a processor, and the peer in both forms."""
    own = ("-c", SERVE, "--index", str(index), "--kind", kind, *(() if cached else ("--cache-mb", "0")))
    peer = (str(ROOT / "benchmarks" / "search_r1_server.py"), "--index", str(index), "--kind", kind)
    return [
        Server("ours, 1 worker", (*own, "--workers", "1")),
        Server("ours, 2 workers", (*own, "--workers", "2")),
        Server("Search-R1's design", peer),
        Server("one request at a time", (*peer, "--one-at-a-time")),
    ]


@contextmanager
def running(server: Server) -> Iterator[tuple[int, psutil.Process]]:
    """The port and process of a server that answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, *server.command, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        while True:
            assert process.poll() is None, f"{server.name} ended"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a server and its workers so far."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def loaded(load: Load) -> dict[str, Any]:
    """The measurement of clients in a process of their own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "search_load.py"), json.dumps(asdict(load))]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment()).stdout)


def in_process(index: Path, kind: str, questions: Path, seconds: float, first: int) -> dict[str, float]:
    """Questions a second of the bare library, by questions a call; in a process of its own."""
    arguments = [str(index), kind, str(questions), str(seconds), str(first)]
    command = [sys.executable, __file__, "library", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment()).stdout)


def library(index: str, kind: str, questions: str, seconds: str, first: str) -> None:
    """Measure in this process and print."""
    from tr_grpo.search.opening import open_index

    retriever = open_index(Path(index), kind=kind)
    retriever.search(["warm up"], 3)
    asked = json.loads(Path(questions).read_text())
    rates = {}
    at = int(first)
    for size in (1, 32):
        done, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < float(seconds):
            retriever.search([asked[(at + offset) % len(asked)] for offset in range(size)], 3)
            at += size
            done += size
        rates[str(size)] = done / (time.perf_counter() - start)
        rates[f"cpu_us_{size}"] = (time.process_time() - cpu) / done * 1e6
    print(json.dumps(rates))


def serve(given: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Rates and latencies of one kind; see the module's text."""
    built = build(given.work, given.passages[0], "bm25" if given.kind == "bm25" else "fused")
    index, questions = Path(built["index"]), questions_of(Path(built["corpus"]), given.repeat)
    measured = [
        server
        for server in servers(index, given.kind, given.repeat > 1)
        if server.name in (given.servers or [server.name])
    ]
    runs: list[dict[str, Any]] = []
    libraries: list[dict[str, Any]] = []
    with ExitStack() as stack:
        started = {server.name: stack.enter_context(running(server)) for server in measured}
        ports = {name: port for name, (port, _) in started.items()}
        time.sleep(5)  # second workers
        for name, port in ports.items():
            loaded(Load("127.0.0.1", port, 16, 2.0, str(questions), first=len(name)))
        first = 0
        for number in range(given.rounds):
            found = in_process(index, given.kind, questions, given.seconds, first)
            libraries.append({"round": number, "load": os.getloadavg()[0], **found})
            console.print(f"round {number}, in process: {found}")
            for clients in given.clients:
                for name, port in ports.items():
                    first += 1_000
                    before = cpu_seconds(started[name][1])
                    result = loaded(
                        Load("127.0.0.1", port, clients, given.seconds, str(questions), first * given.repeat)
                    )
                    used = (cpu_seconds(started[name][1]) - before) / result["answers"] * 1e6
                    runs.append({"round": number, "server": name, "load": os.getloadavg()[0], **result, "cpu_us": used})
                    console.print(
                        f"round {number}, {name}, {clients} clients: {result['rate']:,.0f} a second, "
                        f"{used:.0f} µs of processors, {result['p50_ms']:.1f} ms, 99 %: {result['p99_ms']:.1f} ms, "
                        f"load {os.getloadavg()[0]:.1f}"
                    )
    for run in runs:
        del run["host"], run["port"], run["questions"], run["first"]
    part = {"kind": given.kind, "passages": given.passages[0], "repeat": given.repeat, "seconds": given.seconds}
    return part | {"runs": runs, "in_process": libraries}


def sizes(given: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """One line a size."""
    lines = []
    for passages in given.passages:
        built = build(given.work, passages, "bm25")
        index, questions = Path(built.pop("index")), questions_of(Path(built.pop("corpus")), 1)
        alone = in_process(index, "bm25", questions, given.seconds, 0)
        own = next(server for server in servers(index, "bm25", False) if server.name == "ours, 2 workers")
        with running(own) as (port, process):
            time.sleep(5)
            results = [
                loaded(Load("127.0.0.1", port, clients, given.seconds, str(questions), 7_000 * clients))
                for clients in (1, 32)
            ]
            memory = [
                child.memory_full_info() for child in process.children() if "spawn_main" in " ".join(child.cmdline())
            ]
        line = {
            "passages": passages,
            **built,
            "in_process": alone,
            "p50_1_client_ms": results[0]["p50_ms"],
            "rate_32_clients": results[1]["rate"],
            "p99_32_clients_ms": results[1]["p99_ms"],
            "worker_unique_mb": [info.uss / 1e6 for info in memory],
            "worker_resident_mb": [info.rss / 1e6 for info in memory],
            "serving_load": os.getloadavg()[0],
        }
        console.print(line)
        lines.append(line)
    return lines


def main() -> None:
    """Measure a part and put it into the file."""
    if sys.argv[1:2] == ["library"]:
        return library(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("serve", "sizes"))
    parser.add_argument("--work", type=Path, required=True, help="folder for corpora and indexes")
    parser.add_argument("--passages", type=int, nargs="+", default=[100_000])
    parser.add_argument("--kind", choices=("bm25", "dense", "fused"), default="bm25")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--servers", nargs="+", help="names of those to measure; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=1, help="times that each question comes")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    console = Console(width=200, highlight=False)
    report = json.loads(given.json.read_text()) if given.json.exists() else {}
    report |= {"versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}}
    report["processors"] = os.cpu_count()
    if given.part == "serve":
        part = serve(given, console)
        clients = " ".join(map(str, given.clients))
        report[f"serve {given.kind} {given.passages[0]} x{given.repeat}, clients {clients}"] = part
        console.print(*serving(part), sep="\n")
    else:
        report["sizes"] = sizes(given, console)
    given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return None


if __name__ == "__main__":
    main()
