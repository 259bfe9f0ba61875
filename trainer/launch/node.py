"""One node of a cluster: starts Ray here and, on the first node, the training; stops all it started.

Every launcher runs this on every node. The head leads: when its training ends, however it ends, it stops Ray, and the
others see its port close and follow.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import processes
from tr_grpo.trainer.exit_status import BAD_INPUT, DONE, FAILED, INTERRUPTED, STOPPED
from tr_grpo.trainer.launch.drive import RANK_LABEL
from tr_grpo.trainer.launch.machine import keep_on_loopback, own_address, use_token
from tr_grpo.trainer.launch.tee import Tee

POLL_S = 1.0
REFUSALS = 3
"""Closed ports in a row after which the head is gone for good; a port that does not answer may come back."""
LOST_S = 60.0
"""As long as Ray's own ``gcs_rpc_server_reconnect_timeout_s``."""
STOP_S = 20.0
WITHOUT_RAY_LOGS = (DONE, BAD_INPUT, STOPPED)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True)
class Node:
    """This node's place in the cluster.

    Attributes:
        hosts: all nodes by rank; the first is the head.
        rank: of this one.
        devices: GPUs, or slots on a CPU.
        cpus: what Ray is to count; None for what it finds.
        port: of Ray's head (GCS); Ray chooses the others.
        wait_s: seconds that the head waits for the others, and they for it.
        logs: where this node's log is written.
        dashboard_host: None for no dashboard.
        pid_file: where the head writes its pid, for who wants to signal it.
    """

    hosts: tuple[str, ...]
    rank: int
    devices: int
    cpus: int | None
    port: int
    wait_s: float
    logs: Path
    dashboard_host: str | None = None
    pid_file: Path | None = None

    @property
    def log(self) -> Path:
        """What this node printed."""
        return self.logs / f"{self.hosts[self.rank]}.log"

    @property
    def ray_folder(self) -> Path:
        """Ray's sessions of this run alone: short, for its sockets, and the port is one run's on a machine."""
        return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / f"tr-grpo-{os.getuid()}-{self.port}-{self.rank}"

    def ray_command(self) -> list[str]:
        """``ray start`` in the foreground."""
        place = [f"--address={self.hosts[0]}:{self.port}"]
        if self.rank == 0:
            dashboard = (
                ["--include-dashboard=false"]
                if self.dashboard_host is None
                else ["--include-dashboard=true", f"--dashboard-host={self.dashboard_host}"]
            )
            place = ["--head", f"--port={self.port}", *dashboard]
        address = self.address()
        return [
            *(_beside("ray"), "start", "--log-color=false", *place),
            *([] if address is None else [f"--node-ip-address={address}"]),
            f"--num-gpus={self.devices}",
            *([] if self.cpus is None else [f"--num-cpus={self.cpus}"]),
            f"--labels={RANK_LABEL}={self.rank}",
            f"--temp-dir={self.ray_folder}",
            *("--disable-usage-stats", "--block"),
        ]

    def drive_command(self, words: Sequence[str]) -> list[str]:
        """What waits for the other nodes and then is the training."""
        cluster = [f"--nodes={len(self.hosts)}", f"--devices={self.devices}", f"--hosts={','.join(self.hosts)}"]
        command = [sys.executable, "-m", "tr_grpo.trainer.cli", "launch", "drive", *cluster, f"--wait={self.wait_s:g}"]
        return [*command, "--", *words]

    def address(self) -> str | None:
        """This node's address as the others know it; None, for Ray to find, where the name means the loopback here."""
        host = self.hosts[self.rank]
        if len(self.hosts) == 1:
            return None
        try:
            found = socket.gethostbyname(host)
        except OSError as problem:
            raise InputError(f"{host}: this name of this node has no address ({problem.strerror})") from problem
        return None if found.startswith("127.") else found


def run(node: Node, words: Sequence[str]) -> int:
    """Be this node until the run ends.

    Args:
        node: this node.
        words: the command line after ``tr-grpo train``.

    Returns:
        On the head the exit status of the training; elsewhere 0 once the head has left.

    Raises:
        InputError: no token for Ray, or no address.
    """
    use_token(len(node.hosts))
    if len(node.hosts) == 1:
        keep_on_loopback()
    processes.adopt_orphans()
    node.logs.mkdir(parents=True, exist_ok=True)
    status = FAILED
    with Tee(node.log) as tee, _signals() as asked:
        try:
            status = _lead(node, words, tee, asked) if node.rank == 0 else _follow(node, tee, asked)
        finally:
            processes.ignore_interrupts()
            if status not in WITHOUT_RAY_LOGS:
                _keep_ray_logs(node)
            processes.stop_descendants(grace=STOP_S)
            shutil.rmtree(node.ray_folder, ignore_errors=True)
            if node.pid_file is not None:
                node.pid_file.unlink(missing_ok=True)
    return status


class Asked:
    """Signals that came; they go on to the training once there is one."""

    def __init__(self) -> None:
        self.signals: list[signal.Signals] = []
        self.child: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        """A handler of signals."""
        self.signals.append(signal.Signals(number))
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)

    def lead(self, child: subprocess.Popen[bytes]) -> None:
        """From now on signals go to ``child``, and each that came before goes there once."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.child, earlier = child, tuple(self.signals)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for number in earlier:
            child.send_signal(number)

    @property
    def stop(self) -> bool:
        """Whether a node without a training has to stop."""
        return any(number != signal.SIGUSR1 for number in self.signals)


@contextmanager
def _signals() -> Iterator[Asked]:
    asked = Asked()
    for number in SIGNALS:
        signal.signal(number, asked)
    yield asked


def _lead(node: Node, words: Sequence[str], tee: Tee, asked: Asked) -> int:
    if node.pid_file is not None:
        node.pid_file.write_text(str(os.getpid()))
    ray = tee.start(node.ray_command())
    if not _until_open(node, ray, asked):
        return _ended_early(node, ray, tee, asked)
    environ = os.environ | {"RAY_ADDRESS": f"{node.address() or own_address()}:{node.port}"}
    training = tee.start(node.drive_command(words), environ)
    asked.lead(training)
    while training.poll() is None:
        if ray.poll() is not None:
            tee.say(f"Ray's head ended with status {ray.returncode}; the training cannot go on")
            training.send_signal(signal.SIGINT)
            _end(training)
            return FAILED
        time.sleep(POLL_S / 4)
    return outcome(training.returncode, asked.signals)


def outcome(status: int, asked: Sequence[signal.Signals]) -> int:
    """The training's exit status, for a scheduler.

    Args:
        status: of the process; negative where a signal ended it.
        asked: the signals that were passed on to it.

    Returns:
        The same, but 75 where a scheduler's signal ended it before its first step: nothing was saved, nothing was lost,
        and the same command goes on.
    """
    interrupted = status in (INTERRUPTED, *(-number for number in asked))
    if interrupted and asked and signal.SIGINT not in asked:
        return STOPPED
    return 128 - status if status < 0 else status


def _follow(node: Node, tee: Tee, asked: Asked) -> int:
    if not _until_open(node, None, asked):
        return _ended_early(node, None, tee, asked)
    ray = tee.start(node.ray_command())
    refusals, answered = 0, time.monotonic()
    while not asked.stop:
        if ray.poll() is not None and refusals == 0 and _open(node) is True:
            tee.say(f"Ray ended with status {ray.returncode}, and the head is still there")
            return FAILED
        is_open = _open(node)
        refusals = refusals + 1 if is_open is False else 0
        answered = time.monotonic() if is_open else answered
        if refusals >= REFUSALS:
            tee.say("the head has left; stopping Ray here")
            return DONE
        if time.monotonic() - answered > LOST_S:
            tee.say(f"the head {node.hosts[0]} has not answered for {LOST_S:g} s; stopping Ray here")
            return FAILED
        time.sleep(POLL_S)
    tee.say(f"{asked.signals[-1].name}: stopping Ray here")
    return 128 + asked.signals[-1]


def _until_open(node: Node, ray: subprocess.Popen[bytes] | None, asked: Asked) -> bool:
    deadline = time.monotonic() + node.wait_s
    while time.monotonic() < deadline and not asked.signals and (ray is None or ray.poll() is None):
        if _open(node):
            return True
        time.sleep(POLL_S / 4)
    return False


def _ended_early(node: Node, ray: subprocess.Popen[bytes] | None, tee: Tee, asked: Asked) -> int:
    if asked.signals:
        return STOPPED if asked.signals[-1] != signal.SIGINT else INTERRUPTED
    if ray is not None and ray.poll() is not None:
        tee.say(f"Ray did not start on {node.hosts[0]}: status {ray.returncode}, its reason is above")
    else:
        tee.say(f"error: after {node.wait_s:g} s nothing answers at the head {node.hosts[0]}:{node.port}")
    return FAILED


def _open(node: Node) -> bool | None:
    """Whether the head's port answers; False when it is closed, None when nothing comes back."""
    host = node.address() or own_address() if node.rank == 0 else node.hosts[0]
    try:
        socket.create_connection((host, node.port), timeout=5.0).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return None
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _keep_ray_logs(node: Node) -> None:
    source = node.ray_folder / "session_latest" / "logs"
    if source.is_dir():
        kept = node.logs / f"{node.hosts[node.rank]}-ray"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(source, kept, symlinks=True, ignore_dangling_symlinks=True)


def _beside(program: str) -> str:
    path = Path(sys.executable).with_name(program)
    return str(path) if path.is_file() else program
