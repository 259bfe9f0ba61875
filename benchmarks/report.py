"""``tr-grpo report`` on long runs: time and memory to read and render, size of the page, time until it can be used.

    .venv/bin/python benchmarks/report.py [--steps 2000] [--seeds 5] [--rounds 3]

The runs are synthetic (``tests/unit/analysis/synthetic.py``): two methods with some seeds each, a real run's number of
metrics, every 20th step with eight recorded responses of 300 tokens. Each round is a new process, imports included;
its processor time says what a busy machine adds; memory is its largest resident set.
*Interactive* is the mark ``report-ready`` that the page sets once every chart and the first response are drawn, counted
from the start of the navigation, in headless Chromium (``CHROMIUM`` or Debian's ``chromium-headless-shell``).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

GOALS = {
    "read and render, s": 20.0,
    "processor time of it, s": 20.0,
    "peak memory, GiB": 1.5,
    "page, MB": 5.0,
    "interactive, s": 2.0,
}
CHILD = """
import json, resource, sys, time
from pathlib import Path
from tr_grpo.analysis.report.formats import write
write([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]), "html")
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20]))
"""


METRICS = 175
"""Metrics of a step of Knights & Knaves."""


def make_runs(root: Path, steps: int, seeds: int) -> list[Path]:
    """Two methods with ``seeds`` seeds each."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "unit" / "analysis"))
    from synthetic import Made, Metrics, make_run

    def padded(step: int, metrics: Metrics) -> Metrics:
        more = {f"timing_s/part_{number}": step + 0.123456789 for number in range(METRICS - len(metrics))}
        return metrics | (more if step else {})

    return [
        make_run(
            root / f"{algo}-{seed}",
            Made(
                algo=algo,
                seed=seed,
                steps=steps,
                test_every=20,
                updates=1,
                responses=8,
                record_every=20,
                tokens=300,
                change=padded,
            ),
        )
        for algo in ("grpo", "tr_grpo")
        for seed in range(seeds)
    ]


def render(runs: list[Path], page: Path) -> tuple[float, float, float]:
    """Seconds, seconds of processor time and GiB of one process that writes the page."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, page, *runs], check=True, capture_output=True, text=True)
    processor, memory = json.loads(done.stdout)
    return time.perf_counter() - start, processor, memory


def interactive(page: Path) -> float:
    """Seconds from the navigation to the page's mark."""
    from playwright.sync_api import sync_playwright

    executable = os.environ.get("CHROMIUM") or shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if executable is None:
        sys.exit("error: no Chromium; install chromium-headless-shell or set CHROMIUM to its path")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        tab = browser.new_page()
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
        mark = tab.evaluate("performance.getEntriesByName('report-ready')[0].startTime")
        browser.close()
    return float(mark) / 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        runs = make_runs(root, options.steps, options.seeds)
        page = root / "report.html"
        renders = [render(runs, page) for _ in range(options.rounds)]
        found = {
            "read and render, s": [seconds for seconds, _, _ in renders],
            "processor time of it, s": [seconds for _, seconds, _ in renders],
            "peak memory, GiB": [memory for _, _, memory in renders],
            "page, MB": [page.stat().st_size / 1e6],
            "interactive, s": [interactive(page) for _ in range(options.rounds)],
        }
    table = Table("", "median", "worst", "goal, at most", title=f"{options.steps} steps, {len(runs)} runs")
    for label, values in found.items():
        table.add_row(label, f"{statistics.median(values):.2f}", f"{max(values):.2f}", f"{GOALS[label]:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
