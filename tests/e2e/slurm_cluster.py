"""A real Slurm of one node, without systemd: munged, slurmctld and slurmd as processes of the test, stopped by pid."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """The reason for which no Slurm can be started here; None where one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a Slurm of the test's own needs Linux and root"
    wanted = (*DAEMONS, "sbatch", "srun", "scontrol")
    missing = [name for name in wanted if shutil.which(name) is None]
    return f"{', '.join(missing)} is not installed (Debian: slurmctld slurmd slurm-client munge)" if missing else None


def host() -> str:
    """The node's name."""
    return socket.gethostname().partition(".")[0]


@dataclass(frozen=True)
class Slurm:
    """A running Slurm.

    Attributes:
        folder: of its files; daemons' logs are ``*.log`` there.
    """

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """For Slurm's commands."""
        return os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *words: str) -> str:
        """Standard output of one of Slurm's commands."""
        done = subprocess.run(words, env=self.environ, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def job(self, number: int) -> dict[str, str]:
        """What Slurm knows of a job: ``JobState``, ``Restarts``, ``ExitCode`` …"""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "show", "job", "-o", str(number))))


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """A Slurm with this machine as its node, for as long as the context lasts.

    Args:
        folder: an empty one, with a short path (munge's socket is in it).

    Raises:
        RuntimeError: it does not come up.
    """
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    (folder / "munge").chmod(0o711)
    control_port, node_port = free_ports(2)
    given = {"host": host(), "folder": folder, "control_port": control_port, "node_port": node_port}
    (folder / "slurm.conf").write_text(CONFIG.format(**given))
    made = Slurm(folder)
    munge = [f"--{name}={folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    with contextlib.ExitStack() as stack:
        _daemon(stack, made, ["munged", "--foreground", "--force", f"--key-file={key}", *munge])
        _until(lambda: (folder / "munge" / "socket").exists(), 20, "munge")
        _daemon(stack, made, ["slurmctld", "-D"])
        _daemon(stack, made, ["slurmd", "-D", "-N", host()])
        _until(lambda: _idle(made), 60, "idle node")
        try:
            yield made
        finally:
            # A step outlives the daemons.
            made.ask("scancel", "--state=PENDING")
            made.ask("scancel", "--full", "--signal=KILL", "--state=RUNNING")
            _until(lambda: not made.ask("squeue", "--noheader").strip(), 60, "end of all jobs")


def _daemon(stack: contextlib.ExitStack, made: Slurm, words: Sequence[str]) -> None:
    with (made.folder / f"{words[0]}.log").open("wb") as log:
        process = subprocess.Popen(words, env=made.environ, stdout=log, stderr=log, start_new_session=True)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _idle(made: Slurm) -> bool:
    try:
        return made.ask("sinfo", "--noheader", "--format=%T").strip() == "idle"
    except RuntimeError:
        return False  # the controller does not answer yet


def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {what} within {seconds:g} s")
        time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
