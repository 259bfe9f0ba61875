"""The Slurm script: directives, words byte for byte, one supervisor a node, and what follows a signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from launch_cases import ANY_WORDS, HARD_WORDS, STAND_IN, Said, executable, job, words_after_dashes

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch.job import Job
from tr_grpo.trainer.launch.slurm import BODY, SCRIPT, Options, directives, render

ROOT = Path(__file__).parents[4]
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec env SLURM_NODEID=0 "$@"
"""
# Waits for the signals that the batch shell passes on; ends as `tr-grpo train` does after one.
WAITING = """#!{python}
import os, signal, sys, time
pid_file = next(word for word in sys.argv if word.startswith("--pid-file=")).partition("=")[2]
def stop(number, frame):
    print("stopped by", signal.Signals(number).name, flush=True)
    sys.exit(75)
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, stop)
open(pid_file, "w").write(str(os.getpid()))
time.sleep(60)
"""


class Allocation:
    """A job's shell, with Slurm's commands played by scripts."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        executable(folder / "bin" / "tr-grpo", program)
        executable(folder / "bin" / "srun", SRUN)
        self.requeued = folder / "requeued"
        executable(
            folder / "bin" / "scontrol",
            f'#!/bin/sh\nif [ "$1" = requeue ]; then echo "$2" > {self.requeued}; else printf "n1\\nn2\\n"; fi\n',
        )
        # The real one ends the script while it sleeps after its requeue.
        executable(folder / "bin" / "sleep", "#!/bin/sh\nexit 0\n")
        self.environ = os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SAID": str(folder / "said"),
            **{"SLURM_JOB_ID": "123456", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"},
        }

    def job(self, words: tuple[str, ...] = HARD_WORDS) -> Job:
        program = str(self.folder / "bin" / "tr-grpo")
        return job(words, program=program, folder=self.folder, run_folder=self.folder / "run")

    def start(self, words: tuple[str, ...] = HARD_WORDS) -> subprocess.Popen[str]:
        script = executable(self.folder / SCRIPT, render(self.job(words), Options()).files[SCRIPT])
        return subprocess.Popen(
            ["bash", str(script)], env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def said(self) -> Said:
        return Said.read(self.folder / "said")


@pytest.fixture
def allocation(tmp_path: Path) -> Allocation:
    return Allocation(tmp_path, STAND_IN)


@pytest.fixture
def waiting(tmp_path: Path) -> Allocation:
    return Allocation(tmp_path, WAITING.format(python=sys.executable))


def started(allocation: Allocation, process: subprocess.Popen[str]) -> None:
    pid_file = allocation.folder / "run" / "logs" / "123456.pid"
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_words_reach_each_node_byte_for_byte(allocation: Allocation) -> None:
    assert allocation.start().wait(30) == 0
    said = allocation.said()
    assert said.words[:2] == ("launch", "node")
    assert words_after_dashes(said.words) == HARD_WORDS
    assert said.folder == allocation.folder


@settings(max_examples=15)
@given(words=ANY_WORDS)
def test_any_words_survive_bash(tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...]) -> None:
    allocation = Allocation(tmp_path_factory.mktemp("any"), STAND_IN)
    assert allocation.start(words).wait(30) == 0
    assert words_after_dashes(allocation.said().words) == words


def test_a_node_is_told_its_place_by_the_allocation(allocation: Allocation) -> None:
    allocation.start().wait(30)
    environ = allocation.said().environ
    assert environ["TR_GRPO_HOSTS"] == "n1,n2"
    assert environ["SLURM_NODEID"] == "0"
    assert environ["TR_GRPO_PORT"] == "23456"
    assert environ["RAY_AUTH_MODE"] == "token"
    assert len(environ["RAY_AUTH_TOKEN"]) == 64


def test_each_job_has_a_token_of_its_own_that_no_file_holds(allocation: Allocation) -> None:
    allocation.start().wait(30)
    first = allocation.said().environ["RAY_AUTH_TOKEN"]
    assert first not in (allocation.folder / SCRIPT).read_text()
    allocation.start().wait(30)
    assert allocation.said().environ["RAY_AUTH_TOKEN"] != first


@pytest.mark.parametrize("status", [0, 1, 2, 130])
def test_the_training_s_status_is_the_job_s_and_nothing_is_queued_again(allocation: Allocation, status: int) -> None:
    allocation.environ["STATUS"] = str(status)
    assert allocation.start().wait(30) == status
    assert not allocation.requeued.exists()


def test_status_75_queues_the_job_again(allocation: Allocation) -> None:
    allocation.environ["STATUS"] = "75"
    assert allocation.start().wait(30) == 75
    assert allocation.requeued.read_text().strip() == "123456"


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_warning_saves_and_queues_again_and_a_stop_saves_alone(
    waiting: Allocation, number: signal.Signals, again: bool
) -> None:
    process = waiting.start()
    started(waiting, process)
    process.send_signal(number)  # as Slurm does with --signal=B: to the batch shell alone
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 75
    assert f"stopped by {number.name}" in printed
    assert waiting.requeued.exists() == again


def test_directives_say_what_the_run_needs_and_how_it_is_stopped() -> None:
    options = Options(time="1-00:00:00", partition="gpu", account="us", warning_s=300, extra=("--qos=high",))
    assert directives(job(), options) == [
        "--job-name=knights_knaves-tiny-tr_grpo",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gpus-per-node=8",
        '--output="/shared/outputs/run/logs/slurm-%j.log"',
        "--open-mode=append",
        "--export=ALL",
        "--requeue",
        "--signal=B:USR1@300",
        "--time=1-00:00:00",
        "--partition=gpu",
        "--account=us",
        "--qos=high",
    ]


def test_a_cpu_run_asks_for_no_gpu_and_says_its_slots() -> None:
    on_cpu = job(gpus=False, devices=2, cpus=32, dashboard=False)
    text = render(on_cpu, Options()).files[SCRIPT]
    assert "gpus-per-node" not in text
    assert "  --devices=2\n  --cpus=32\n  --no-dashboard\n" in text


def test_names_and_paths_are_written_as_slurm_reads_them() -> None:
    odd = directives(job(name="two 'words'\n#SBATCH", run_folder=Path("/a b/50%")), Options())
    assert odd[0] == "--job-name=two--words---SBATCH"
    assert '--output="/a b/50%%/logs/slurm-%j.log"' in odd
    with pytest.raises(InputError, match="no quote and no backslash"):
        directives(job(run_folder=Path('/a"b')), Options())


@pytest.mark.parametrize("extra", ["qos=high", "--comment=a\n#SBATCH --nodes=99", "-p gpu"])
def test_a_directive_that_would_break_the_head_is_refused(extra: str) -> None:
    with pytest.raises(InputError, match="no directive of Slurm"):
        render(job(), Options(extra=(extra,)))


def test_the_script_to_copy_has_the_same_body() -> None:
    copied = (ROOT / "scripts" / "launch" / "slurm.sh").read_text()
    assert copied.endswith(BODY)
