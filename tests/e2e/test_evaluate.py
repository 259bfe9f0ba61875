"""``tr-grpo evaluate`` with real vLLM: killed, interrupted and resumed; the training's scorer; the search loop."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import MARK, Run
from search_server import SearchServer, make_facts

from tr_grpo.analysis.evaluate.problems import read_problems
from tr_grpo.analysis.evaluate.samples import Sample, SampleFolder
from tr_grpo.data_prep.tiny_model.files import SHIPPED_FACTS, copy_shipped
from tr_grpo.reward.knights_knaves import judge, parse_solution
from tr_grpo.reward.trajectory import Trajectory

START = 300.0  # seconds until vLLM answers on a slow machine
pytestmark = pytest.mark.e2e


@dataclass
class Evaluation:
    """One command and everything that it starts."""

    out: Path
    words: list[str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen | None = None

    def start(self, *words: str) -> None:
        command = [sys.executable, "-m", "tr_grpo.trainer.cli", "evaluate", *self.words, "--out", str(self.out), *words]
        with self.file("out").open("wb") as out, self.file("err").open("ab") as err:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
                env=os.environ | {MARK: self.mark},
            )

    def file(self, kind: str) -> Path:
        return self.out.parent / f"{self.out.name}.{kind}"

    def wait(self, seconds: float) -> int:
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s:\n{self.said}")

    def kill_all(self) -> None:
        """kill -9 of the command and its workers at the same time; vLLM's processes have to notice by themselves."""
        assert self.process is not None
        command = psutil.Process(self.process.pid)
        everything = [command, *command.children(recursive=True)]
        ours = [command, *command.children()]
        assert len(everything) > len(ours)
        for process in ours:
            process.kill()
        self.process.wait(10)
        _, left = psutil.wait_procs(everything, timeout=30)
        assert not left, left

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)

    @property
    def said(self) -> str:
        logs = [self.file("err"), *sorted(self.out.glob("worker-*.log"))]
        return "\n".join(log.read_text(errors="replace")[-1500:] for log in logs)

    @property
    def printed(self) -> str:
        return self.file("out").read_text()

    @property
    def written(self) -> int:
        return sum(pq.read_metadata(part).num_rows for part in self.out.glob("samples/part-*.parquet"))

    def wait_until_written(self, count: int) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START
        while self.written < count:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"only {self.written} samples (exit status {self.process.poll()}):\n{self.said}")
            time.sleep(0.05)

    @property
    def samples(self) -> list[Sample]:
        return SampleFolder(self.out / "samples").read(light=False)

    @property
    def processes(self) -> Run:
        """The test suite's own way of finding them by their mark."""
        return Run(self.out, [], mark=self.mark)


@pytest.fixture
def new_evaluation(tmp_path: Path) -> Iterator[Callable[..., Evaluation]]:
    """Makes evaluations; kills by pid what a failed test leaves."""
    made: list[Evaluation] = []

    def make(name: str, *words: str) -> Evaluation:
        made.append(Evaluation(tmp_path / name, list(words)))
        return made[-1]

    yield make
    for evaluation in made:
        evaluation.processes.stop()


def shares(table: str) -> dict[tuple[str, str], float]:
    """(part, measure): value, of a table as CSV."""
    return {(row["part"], row["measure"]): float(row["value"]) for row in csv.DictReader(io.StringIO(table))}


def test_killed_interrupted_and_resumed_it_gives_the_table_of_an_uninterrupted_one(
    new_evaluation: Callable[..., Evaluation], files: Path
) -> None:
    """Also with another number of processes: a sample depends on its seed, problem and number alone."""
    words = [
        f"{files}/model", "task=knights_knaves", "llm=tiny", "cluster=cpu", "--data", f"{files}/data",
        "--samples", "160", "--greedy", "--format", "csv", "--k", "1,4,16",
    ]  # fmt: skip
    total = 8 * 161
    whole = new_evaluation("whole", *words)
    whole.start("--devices", "2")
    assert whole.wait(START) == 0, whole.said
    whole.processes.assert_nothing_left()

    broken = new_evaluation("broken", *words)
    broken.start("--devices", "2")
    broken.wait_until_written(1)
    broken.kill_all()
    killed = broken.written
    assert 0 < killed < total

    broken.start("--devices", "1")
    broken.wait_until_written(killed + 1)
    broken.interrupt()
    assert broken.wait(60) == 130, broken.said
    broken.processes.assert_nothing_left()
    assert "the same command goes on from it" in broken.file("err").read_text()
    interrupted = broken.written
    assert killed < interrupted < total

    broken.start("--devices", "1")
    assert broken.wait(START) == 0, broken.said
    broken.processes.assert_nothing_left()
    assert broken.written == total  # none was made twice
    assert [(s.key, s.response) for s in broken.samples] == [(s.key, s.response) for s in whole.samples]
    assert broken.printed == whole.printed

    table = shares(whole.printed)
    assert table["", "pass@1"] == pytest.approx(table["", "avg@160"])
    assert table["", "pass@1"] < table["", "pass@4"] < table["", "pass@16"]
    check_verdicts(whole.samples, files / "data" / "test.parquet", table)
    # Nothing is left to do, so no engine starts.
    whole.start("--devices", "2")
    assert whole.wait(60) == 0
    assert whole.printed == broken.printed


def check_verdicts(samples: list[Sample], data: Path, table: dict[tuple[str, str], float]) -> None:
    """The table's accuracies are those of its own responses, judged again by the training's scorer."""
    truths = {problem.id: problem.ground_truth for problem in read_problems([data])}
    assert {sample.problem for sample in samples} == set(truths)
    again = {s.key: judge(s.response, parse_solution(truths[s.problem]), truncated=s.truncated) for s in samples}
    assert all(again[s.key].verdict == s.verdict and again[s.key].answer == s.answer for s in samples)
    greedy = [s.right for s in samples if s.greedy]
    assert len(greedy) == 8
    assert table["", "greedy"] == sum(greedy) / 8
    drawn = [s.right for s in samples if not s.greedy]
    assert table["", "avg@160"] == pytest.approx(sum(drawn) / len(drawn))
    assert 0 < sum(drawn) < len(drawn)


def test_a_process_that_ends_early_is_told_of_with_its_log(
    new_evaluation: Callable[..., Evaluation], files: Path
) -> None:
    words = [f"{files}/model", "task=knights_knaves", "llm=tiny", "cluster=cpu", "--data", f"{files}/data"]
    evaluation = new_evaluation("killed", *words)
    evaluation.start("--devices", "2")
    assert evaluation.process is not None
    command = psutil.Process(evaluation.process.pid)
    deadline = time.monotonic() + START
    while len(children := command.children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    children[1].kill()
    assert evaluation.wait(60) == 1
    evaluation.processes.assert_nothing_left()
    assert f"process 1 ended with status -9; see {evaluation.out}/worker-1.log" in evaluation.file("err").read_text()

    # verl would cut such a prompt, or leave the problem out.
    short = new_evaluation("short", *words, "data.max_prompt_length=20")
    short.start()
    assert short.wait(START) == 1
    short.processes.assert_nothing_left()
    (line,) = short.file("err").read_text().splitlines()
    assert re.search(
        r"worker-0\.log: knights_knaves: the prompt of row \d has \d+ tokens, more than 20; set data\.", line
    )


def test_a_search_task_searches_and_a_dead_server_is_found_before_anything_starts(
    new_evaluation: Callable[..., Evaluation], tmp_path: Path
) -> None:
    world = make_facts(tmp_path / "facts")
    copy_shipped(world / "model", SHIPPED_FACTS)
    server = SearchServer(world / "index")
    words = [
        f"{world}/model", "task=facts", "llm=tiny_facts", "cluster=cpu", "--data", str(both_loops(world)),
        "--samples", "6", "--greedy", "--format", "csv",
    ]  # fmt: skip
    found = new_evaluation("found", *words)
    try:
        server.start()
        found.start(f"search.url={server.url}")
        assert found.wait(START) == 0, found.said
    finally:
        server.kill()
    found.processes.assert_nothing_left()
    samples = found.samples
    assert len(samples) == 8 * 7
    told = [Trajectory.of_plain(json_of(sample)) for sample in samples]
    assert sum(trajectory.searches for trajectory in told) > 0
    assert all(sample.scored for sample in samples)
    # What is right was read in a passage: the answers are not in the weights.
    assert all(trajectory.searches for trajectory, sample in zip(told, samples, strict=True) if sample.right)

    lost = new_evaluation("lost", *words)
    lost.start(f"search.url={server.url}")
    assert lost.wait(120) == 2
    assert "no search server answers" in lost.file("err").read_text()
    assert not (lost.out / "evaluation.json").exists()


def both_loops(world: Path) -> Path:
    """Eight questions, of which every second goes through verl's tool loop, with which the tiny model cannot search."""
    test = pq.read_table(world / "test.parquet").slice(0, 8)
    loops = pa.array(["search_r1", "search_tool"] * 4)
    file = world / "both.parquet"
    pq.write_table(test.set_column(test.schema.get_field_index("agent_name"), "agent_name", loops), file)
    return file


def json_of(sample: Sample) -> dict[str, Any]:

    assert sample.trajectory is not None
    return json.loads(sample.trajectory)
