"""The tables of docs/results/search_server.md, from what benchmarks/search.py and search_soak.py measured.

python benchmarks/search_report.py docs/results/search_server.json
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Part = dict[str, Any]


def in_process(part: Part) -> list[float]:
    """Searches a second of the bare library, by round: the better of one and of 32 questions a call."""
    return [max(line["1"], line["32"]) for line in part["in_process"]]


def middle(part: Part, server: str, clients: int) -> dict[str, float]:
    """Medians over the rounds."""
    runs = [run for run in part["runs"] if (run["server"], run["clients"]) == (server, clients)]
    return {
        key: statistics.median(run[key] for run in runs) for key in ("rate", "p50_ms", "p95_ms", "p99_ms", "cpu_us")
    }


def ratios(part: Part, clients: int) -> str:
    """Our best against the bare library and against each peer: medians over the rounds of the rounds' ratios."""
    rates: dict[str, list[float]] = {}
    for run in part["runs"]:
        if run["clients"] == clients:
            rates.setdefault(run["server"], []).append(run["rate"])
    own = max((name for name in rates if name.startswith("ours")), key=lambda name: statistics.median(rates[name]))
    others = {"in process": in_process(part)} | {name: rates[name] for name in rates if not name.startswith("ours")}
    said = []
    for name, theirs in others.items():
        pairs = [mine / other for mine, other in zip(rates[own], theirs, strict=True)]
        said.append(f"{statistics.median(pairs):.2f} × {name} ({min(pairs):.2f} to {max(pairs):.2f})")
    return f"{own}, {clients} clients: " + "; ".join(said)


def serving(part: Part) -> Iterator[str]:
    """A row a number of clients."""
    names = list(dict.fromkeys(run["server"] for run in part["runs"]))
    loads = [run["load"] for run in part["runs"]]
    asked = "each question once" if part["repeat"] == 1 else f"each question {part['repeat']} times in a row"
    alone = statistics.median(in_process(part))
    yield (
        f"{part['kind']}, {part['passages']:,} passages, {asked}; in process {alone:,.0f} a second "
        f"({min(statistics.median(line[f'cpu_us_{size}'] for line in part['in_process']) for size in (1, 32)):,.0f} "
        "µs of a processor each); "
        f"load of the machine {min(loads):.1f} to {max(loads):.1f}"
    )
    yield ""
    yield "| clients | " + " | ".join(f"{name} | p50 / p95 / p99 ms | CPU µs" for name in names) + " |"
    yield "|---" * (3 * len(names) + 1) + "|"
    for clients in dict.fromkeys(run["clients"] for run in part["runs"]):
        cells = []
        for name in names:
            found = middle(part, name, clients)
            cells += [f"{found['rate']:,.0f}", "{p50_ms:.1f} / {p95_ms:.1f} / {p99_ms:.1f}".format(**found)]
            cells.append(f"{found['cpu_us']:,.0f}")
        yield f"| {clients} | " + " | ".join(cells) + " |"
    yield ""
    for clients in dict.fromkeys(run["clients"] for run in part["runs"]):
        yield "- " + ratios(part, clients)
    yield ""


def sizes(lines: list[Part]) -> Iterator[str]:
    """A row a size."""
    yield (
        "| passages | build s | build peak MB | index MB | worker's own MB | in process /s | 1 client, p50 ms "
        "| 32 clients /s | of in process | p99 ms |"
    )
    yield "|---" * 10 + "|"
    for line in lines:
        alone = max(line["in_process"].values())
        share = line["rate_32_clients"] / alone
        yield (
            f"| {line['passages']:,} | {line['build_s']:.0f} | {line['build_peak_mb']:,.0f} | {line['disk_mb']:,.0f} | "
            f"{statistics.mean(line['worker_unique_mb']):,.0f} | {alone:,.0f} | {line['p50_1_client_ms']:.2f} | "
            f"{line['rate_32_clients']:,.0f} | {share:.0%} | {line['p99_32_clients_ms']:.1f} |"
        )
    yield ""


def main() -> None:
    """Print everything."""
    report = json.loads(Path(sys.argv[1]).read_text())
    for name, part in report.items():
        if name.startswith("serve "):
            print(*serving(part), sep="\n")
    if "sizes" in report:
        print(*sizes(report["sizes"]), sep="\n")
    if "soak" in report:
        print(json.dumps({key: value for key, value in report["soak"].items() if key not in ("events", "timeline")}))


if __name__ == "__main__":
    main()
