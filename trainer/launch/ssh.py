"""Machines that only ssh reaches: one connection a node, through which it is started, watched and stopped.

A node gets its variables on standard input, where no list of processes shows them, and then reads there what
signal to pass on. It takes the end of its input for SIGTERM, so that a lost connection leaves nothing running.
"""

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch.job import Job, Rendered

CONNECT = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-T")
FAREWELL_S = 90.0
POLL_S = 0.25


@dataclass(frozen=True)
class Options:
    """What ssh alone wants to know.

    Attributes:
        hosts: names by which the nodes know each other, and ssh knows them; the first is the head.
        port: of Ray's head.
        ssh: the program with its options.
    """

    hosts: tuple[str, ...]
    port: int = 6379
    ssh: tuple[str, ...] = ("ssh",)


def hosts(given: str | None, file: Path | None) -> tuple[str, ...]:
    """The hosts of ``--hosts a,b`` or of a hostfile: a name a line, what follows it (``slots=8``) and comments aside.

    Raises:
        InputError: none, both, one twice, or a file that cannot be read.
    """
    if (given is None) == (file is None):
        raise InputError("name the hosts, the head first: --hosts node1,node2 or --hostfile FILE")
    if given is not None:
        found = [host.strip() for host in given.split(",") if host.strip()]
    else:
        assert file is not None
        try:
            lines = file.read_text("utf-8").splitlines()
        except OSError as problem:
            raise InputError(f"{file}: {problem.strerror}") from problem
        found = [words[0] for line in lines if (words := line.partition("#")[0].split())]
    for host in found:
        if not re.fullmatch(r"[\w.:@-]+", host) or host.startswith("-"):
            raise InputError(f"{host!r} is no name of a host")
        if found.count(host) > 1:
            raise InputError(f"{host} is named twice; each host is one node")
    if not found:
        raise InputError(f"{file or '--hosts'}: no host")
    return tuple(found)


def render(job: Job, options: Options) -> Rendered:
    """One ssh a host; none of them has a file."""
    commands = tuple(command(job, options, rank) for rank in range(len(options.hosts)))
    return Rendered({}, commands)


def command(job: Job, options: Options, rank: int) -> tuple[str, ...]:
    """The ssh of one node. What ssh hands to the other side's shell is one word."""
    # Names as ssh knows them may carry a user.
    names = ",".join(host.rpartition("@")[2] for host in options.hosts)
    place = [f"--hosts={names}", f"--rank={rank}", f"--port={options.port}", "--controlled"]
    node = [job.program, "launch", "node", *place, *job.node_options, "--", *job.words]
    remote = f"cd {shlex.quote(str(job.folder))} && exec {shlex.join(node)}"
    return (*options.ssh, *CONNECT, options.hosts[rank], remote)


def variables_block(variables: Mapping[str, str]) -> bytes:
    """What a node reads first: ``NAME=value`` and a NUL each, then an empty one."""
    return b"".join(f"{name}={value}".encode() + b"\0" for name, value in variables.items()) + b"\0"


class Connection:
    """One node's ssh."""

    def __init__(self, words: Sequence[str], host: str, log: Path, variables: Mapping[str, str]) -> None:
        self.host = host
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is passed on, not suffered
            bufsize=0,  # a handler of signals writes to it, too
        )
        self._thread = threading.Thread(target=self._copy, args=(log,), daemon=True)
        self._thread.start()
        self._write(variables_block(variables))

    def send(self, number: signal.Signals) -> None:
        """Have the node's supervisor act as on this signal."""
        self._write(f"{number.name}\n".encode())

    def hang_up(self) -> None:
        """The node stops all it started."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            return  # it has left already

    def finish(self) -> None:
        """Wait for the last lines."""
        self._thread.join(5.0)

    def _write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
        except (BrokenPipeError, ValueError):
            return  # it has left: its status says why

    def _copy(self, log: Path) -> None:
        assert self.process.stdout is not None
        with log.open("ab") as file:
            for line in os.fdopen(self.process.stdout.fileno(), "rb", closefd=False):
                file.write(line)
                file.flush()
                sys.stdout.buffer.write(f"{self.host}: ".encode() + line)
                sys.stdout.buffer.flush()


def run(job: Job, options: Options, logs: Path) -> int:
    """Start every node, follow them, and return the head's exit status.

    Args:
        job: the run.
        options: the hosts.
        logs: folder on this machine in which what each node prints is kept.
    """
    variables = {name: os.environ[name] for name in job.variables}
    variables |= {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    variables |= {"RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)}
    logs.mkdir(parents=True, exist_ok=True)
    nodes = [
        Connection(command(job, options, rank), host, logs / f"{host}.ssh.log", variables)
        for rank, host in enumerate(options.hosts)
    ]
    head = nodes[0]

    def pass_on(number: int, frame: FrameType | None) -> None:
        head.send(signal.Signals(number))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, pass_on)
    # A worker that leaves before the head has failed; the head would wait for it.
    while head.process.poll() is None:
        lost = [node for node in nodes[1:] if node.process.poll() not in (None, 0)]
        if lost:
            print(f"launch: {lost[0].host} ended with status {lost[0].process.returncode}", file=sys.stderr)
            head.send(signal.SIGINT)
            _farewell([head])
        time.sleep(POLL_S)
    _farewell(nodes[1:])
    for node in nodes:
        node.finish()
    return head.process.returncode


def _farewell(nodes: Sequence[Connection]) -> None:
    deadline = time.monotonic() + FAREWELL_S
    while any(node.process.poll() is None for node in nodes) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for node in nodes:
        node.hang_up()
    for node in nodes:
        try:
            node.process.wait(FAREWELL_S)
        except subprocess.TimeoutExpired:
            print(f"launch: {node.host} does not answer; see there what still runs", file=sys.stderr)
            node.process.kill()
