"""Runs ``tr-grpo train`` as a user does, time-boxed, and proves that it leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from tr_grpo.analysis.quickstart import PUZZLES
from tr_grpo.analysis.run_metrics import Metrics, read_metrics
from tr_grpo.data_prep.knights_knaves import DatasetConfig, build_dataset
from tr_grpo.data_prep.tiny_model.files import copy_shipped

MARK = "TR_GRPO_TEST_RUN"


@dataclass
class Run:
    """One run folder and the processes that were started for it."""

    folder: Path
    overrides: list[str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen | None = None

    @property
    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text(errors="replace")

    @property
    def metrics(self) -> dict[int, Metrics]:
        return read_metrics(self.folder)

    @property
    def last_checkpoint(self) -> int:
        path = self.folder / "latest_checkpointed_iteration.txt"
        # verl truncates the file before it writes it, so a look in between finds it empty.
        return int((path.read_text() if path.exists() else "") or 0)

    def start(self, *overrides: str) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tr_grpo.trainer.main", *self.overrides, *overrides]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell that runs the tests in the background makes them ignore Ctrl-C, which is inherited.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
                env=os.environ | {MARK: self.mark, "PYTHONPATH": str(Path(__file__).parent)},
            )

    def wait(self, seconds: float) -> int:
        """Exit status; a run that takes longer fails the test with the end of its log."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s:\n{self.log[-3000:]}")

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"condition not met (exit status {self.process.poll()}):\n{self.log[-3000:]}")
            time.sleep(0.2)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def leftovers(self) -> list[psutil.Process]:
        """Every process that inherited this run's mark, however deep or orphaned."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # ended meanwhile, or another user's
        return found

    def assert_nothing_left(self, seconds: float = 0.0) -> None:
        deadline = time.monotonic() + seconds
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not left, left

    def stop(self) -> None:
        for process in self.leftovers():
            process.kill()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick start's kind of data, fewer puzzles, and the tiny model."""
    folder = tmp_path_factory.mktemp("files")
    build_dataset(DatasetConfig(folder / "data", (3,), 128, 8, 0, PUZZLES))
    copy_shipped(folder / "model")
    return folder


@pytest.fixture
def new_run(files: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Makes runs of 8 prompts x 4 responses, two updates a step; kills by pid what a failed test leaves."""
    runs: list[Run] = []

    def make(name: str, *overrides: str) -> Run:
        run = Run(
            tmp_path / name,
            [
                f"data.train_files={files}/data/train.parquet",
                f"data.val_files={files}/data/test.parquet",
                f"actor_rollout_ref.model.path={files}/model",
                f"trainer.default_local_dir={tmp_path / name}",
                "data.train_batch_size=8",
                "actor_rollout_ref.actor.ppo_mini_batch_size=4",
                "actor_rollout_ref.rollout.n=4",
                "trainer.val_before_train=false",
                "trainer.test_freq=-1",
                *overrides,
            ],
        )
        runs.append(run)
        return run

    yield make
    for run in runs:
        run.stop()
