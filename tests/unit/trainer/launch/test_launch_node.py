"""The supervisor of a node: who follows whom, which signal goes where, what status a scheduler sees, what is left.

Ray and the training are played by small programs, the ports, processes and signals are real.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tr_grpo.trainer.exit_status import FAILED, INTERRUPTED, STOPPED
from tr_grpo.trainer.launch.node import Node, outcome

# The head's "Ray" listens on the port until it is stopped; a worker's waits. Both start a child, as Ray does.
RAY = """
import socket, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
if {head}:
    server = socket.create_server(("127.0.0.1", {port}))
print("ray runs", flush=True)
time.sleep({seconds})
"""
NODE = """
import sys
from pathlib import Path
from tr_grpo.trainer.launch import node

class Played(node.Node):
    def ray_command(self):
        return [sys.executable, "-c", {ray!r}]
    def drive_command(self, words):
        return [sys.executable, "-c", {training!r}, *words]
    def address(self):
        return "127.0.0.1"

logs = Path({logs!r})
place = Played(("127.0.0.1", "elsewhere"), {rank}, 1, None, {port}, {wait}, logs, None, logs / "pid")
sys.exit(node.run(place, ["a word"]))
"""
HANDLING = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
print("training with", sys.argv[1], flush=True)
time.sleep(60)
"""


class Started:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, port: int, rank: int, training: str = "", wait: float = 30.0, ray_s: int = 300):
        self.logs = folder / f"logs{rank}"
        ray = RAY.format(head=rank == 0, port=port, seconds=ray_s)
        text = NODE.format(ray=ray, training=training, rank=rank, port=port, wait=wait, logs=str(self.logs))
        environ = os.environ | {"RAY_AUTH_TOKEN": "t" * 32, "MARKED": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", text], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.folder = folder

    def log(self) -> str:
        path = self.logs / ("127.0.0.1.log" if self.logs.name.endswith("0") else "elsewhere.log")
        return path.read_text() if path.exists() else ""

    def end(self) -> int:
        return self.process.wait(40)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start(tmp_path: Path, port: int):  # type: ignore[no-untyped-def]
    started: list[Started] = []

    def make(rank: int, **changes: object) -> Started:
        started.append(Started(tmp_path, port, rank, **changes))  # type: ignore[arg-type]
        return started[-1]

    yield make
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
    left = marked(tmp_path)
    for process in left:
        process.kill()
    assert not left, left


def marked(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("MARKED") == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended meanwhile
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


Start = Callable[..., Started]


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_head_hands_on_the_training_s_status_and_the_worker_follows_it(start: Start, status: int) -> None:
    worker = start(1)
    head = start(0, training=f"import sys, time; print('given', sys.argv[1]); time.sleep(2); sys.exit({status})")
    assert head.end() == status
    assert worker.end() == 0
    assert "given a word" in head.log()
    assert "the head has left" in worker.log()


def test_a_warning_reaches_the_training_alone_and_its_status_is_handed_on(start: Start) -> None:
    head = start(0, training=HANDLING)
    until(lambda: "training with" in head.log())
    os.kill(int((head.logs / "pid").read_text()), signal.SIGUSR1)
    assert head.end() == STOPPED
    assert not (head.logs / "pid").exists()


def test_a_training_that_is_warned_before_it_can_listen_can_go_on_later(start: Start) -> None:
    head = start(0, training="import time; print('training with', flush=True); time.sleep(60)")
    until(lambda: "training with" in head.log())
    head.process.send_signal(signal.SIGTERM)
    assert head.end() == STOPPED


def test_ctrl_c_is_no_stop_to_go_on_from(start: Start) -> None:
    head = start(0, training="import time; print('training with', flush=True); time.sleep(60)")
    until(lambda: "training with" in head.log())
    head.process.send_signal(signal.SIGINT)
    assert head.end() not in (0, STOPPED)


def test_a_launcher_that_hangs_up_does_not_stop_the_training(start: Start) -> None:
    training = "import time\nfor _ in range(40): print('x' * 9999, flush=True); time.sleep(0.05)\nprint('to the end')"
    head = start(0, training=training)
    assert head.process.stdout is not None
    head.process.stdout.close()
    assert head.end() == 0
    assert "to the end" in head.log()


def test_a_head_whose_ray_ends_ends_the_training(start: Start) -> None:
    head = start(0, training="import time; time.sleep(60)", ray_s=4)
    assert head.end() == FAILED
    assert "Ray's head ended with status 0" in head.log()


def test_a_worker_whose_head_never_comes_says_so(start: Start) -> None:
    worker = start(1, wait=1.0)
    assert worker.end() == FAILED
    assert "after 1 s nothing answers at the head 127.0.0.1" in worker.log()


def test_a_worker_can_be_stopped_by_itself(start: Start, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        worker = start(1)
        until(lambda: "ray runs" in worker.log())
        worker.process.send_signal(signal.SIGUSR1)  # the head's affair
        time.sleep(0.5)
        assert worker.process.poll() is None
        worker.process.send_signal(signal.SIGTERM)
        assert worker.end() == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("status", "asked", "seen"),
    [
        (0, [], 0),
        (1, [signal.SIGUSR1], 1),
        (INTERRUPTED, [], INTERRUPTED),
        (INTERRUPTED, [signal.SIGUSR1], STOPPED),
        (INTERRUPTED, [signal.SIGTERM, signal.SIGINT], INTERRUPTED),
        (-signal.SIGTERM, [signal.SIGTERM], STOPPED),
        (-signal.SIGKILL, [signal.SIGTERM], 128 + signal.SIGKILL),
    ],
)
def test_a_scheduler_s_stop_before_the_first_step_can_be_gone_on_from(
    status: int, asked: list[signal.Signals], seen: int
) -> None:
    assert outcome(status, asked) == seen


def test_ray_is_started_with_the_node_s_place_and_on_the_head_alone_with_a_dashboard() -> None:
    here = Node(("127.0.0.1", "localhost"), 0, 8, None, 6379, 60, Path("logs"), "127.0.0.1")
    head = here.ray_command()
    assert {"--head", "--port=6379", "--num-gpus=8", "--dashboard-host=127.0.0.1", "--block"} <= set(head)
    worker = Node(("127.0.0.1", "localhost"), 1, 8, 32, 6379, 60, Path("logs"), "127.0.0.1").ray_command()
    assert {"--address=127.0.0.1:6379", "--num-cpus=32", "--labels=tr-grpo/rank=1"} <= set(worker)
    assert not any("dashboard" in word or word == "--head" for word in worker)
