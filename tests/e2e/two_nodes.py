"""Two machines out of one: Linux namespaces, a virtual switch between them, and a Ray that spans both.

Each node has its own network (one interface ``eth0`` with one address), ``/tmp``, ``/dev/shm``, host name and
processes. The rest of the file system is shared, as with NFS, and of ``/tmp`` the folders that are named. Killing a
node's first process kills the machine, and with it go its network and mounts: nothing of a node has a name on the host,
so nothing can be left there.

Both nodes share this machine's cores, memory and clock: what a slow link or a clock that runs ahead does is not shown.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

NETWORK = "10.77.0."
STATE = "/sys/class/net/eth0/operstate"
RAY_PORT = 6379
CODE = (Path(__file__).parents[2],)
"""The checkout with its environment, which the nodes need wherever it lies."""
RAY = str(Path(sys.executable).with_name("ray"))
NAMESPACES = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
# The first process of a node reaps what loses its parent, as init does. A fresh /sys shows the node's interfaces alone.
INIT = """set -eu
hostname "$NODE"
mount --bind "$NAMES/hosts" /etc/hosts
mount --bind "$NAMES/nsswitch.conf" /etc/nsswitch.conf
mkdir -p "$PRIVATE/tmp/cgroup" && chmod 1777 "$PRIVATE/tmp"
for folder in $SHARED; do
  inside="$PRIVATE/tmp/${folder#/tmp/}"
  mkdir -p "$inside" && mount --bind "$folder" "$inside"
done
mount --rbind "$PRIVATE/tmp" /tmp
mount -t tmpfs -o size=4g shm /dev/shm
mount --rbind /sys/fs/cgroup /tmp/cgroup
mount -t sysfs sysfs /sys
mount --rbind /tmp/cgroup /sys/fs/cgroup
umount --lazy --recursive /tmp/cgroup && rmdir /tmp/cgroup
ip link set lo up
echo up
while :; do sleep 60 & wait $!; done"""


def why_not() -> str | None:
    """The reason for which this machine cannot be two; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "two nodes out of one machine need Linux and root"
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed (Debian: iproute2, util-linux)"
    made = subprocess.run([*NAMESPACES, "ip", "link", "add", "x", "type", "bridge"], capture_output=True, text=True)
    return None if made.returncode == 0 else f"no namespaces or no bridge here: {made.stderr.strip()}"


@dataclass(frozen=True)
class Node:
    """One of the two machines.

    Attributes:
        name: host name.
        address: of ``eth0``; the other node and Ray know it by this.
        init: pid, on the host, of the node's first process.
        port: its interface in the switch.
        switch: pid, on the host, of the process that keeps the switch.
        private: what the node has in place of ``/tmp``, as the host sees it; Ray's logs are in
            ``tmp/ray/session_latest/logs``.
    """

    name: str
    address: str
    init: int
    port: str
    switch: int
    private: Path

    def command(self, words: Sequence[str], cwd: Path | None = None) -> list[str]:
        """``words``, such that they run on the node."""
        folder = str(cwd or Path.cwd())
        return ["nsenter", "--target", str(self.init), "--all", f"--wd={folder}", *words]

    def run(
        self, words: Sequence[str], timeout: float = 60.0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; the exit status is the caller's to judge.

        Raises:
            subprocess.TimeoutExpired: it took longer; it was killed.
        """
        return subprocess.run(
            self.command(words),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=dict(env or os.environ),
            check=False,
        )

    def start(self, words: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start in the background; what it prints is appended to ``log``. The end of the node is its end."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self.command(words),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(env or os.environ),
            )

    def plug(self, connected: bool) -> None:
        """Put the network cable in, or pull it: then packets are lost without an answer, as with a dead switch."""
        state = "up" if connected else "down"
        _run("nsenter", "--target", str(self.switch), "--net", "ip", "link", "set", self.port, state)

    def linked(self) -> bool:
        """Whether the interface has a signal."""
        return self.run(["cat", STATE]).stdout.strip() == "up"

    def kill(self) -> None:
        """The power fails: no process of the node says good-bye, and no packet leaves it any more."""
        self.plug(connected=False)
        first = psutil.Process(self.init)
        first.kill()
        until(lambda: not self.alive, 20.0, f"end of {self.name}")

    @property
    def alive(self) -> bool:
        """Whether the node was not killed."""
        try:
            return psutil.Process(self.init).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@contextlib.contextmanager
def two_nodes(shared: Sequence[Path] = (), names: Sequence[str] = ("node-a", "node-b")) -> Iterator[tuple[Node, ...]]:
    """Two nodes that reach each other, for as long as the context lasts; a third name makes a spare one.

    Args:
        shared: existing folders below ``/tmp`` that all see at the path at which the host has them; what is not below
            ``/tmp`` is shared anyway.
        names: host names.

    Raises:
        RuntimeError: this machine refuses; :func:`why_not` tells beforehand.
    """
    base = Path(tempfile.mkdtemp(prefix="two_nodes_", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(_remove, base)
        lines = [f"{NETWORK}{number} {name}" for number, name in enumerate(names, 1)]
        (base / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        # No name server is reached from there, and each question to one would take seconds.
        (base / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        switch = _first_process(
            stack, ["unshare", "--net", "--fork", "--kill-child"], "echo up; exec sleep infinity", {}
        )
        _in(switch, "ip", "link", "add", "switch", "type", "bridge")
        _in(switch, "ip", "link", "set", "switch", "up")
        nodes = []
        for number, name in enumerate(names, 1):
            below = [str(folder) for folder in (*shared, *CODE) if folder.is_relative_to("/tmp")]
            given = {"NODE": name, "PRIVATE": str(base / name), "SHARED": " ".join(below), "NAMES": str(base)}
            init = _first_process(stack, NAMESPACES, INIT, given)
            port, address = f"port{number}", f"{NETWORK}{number}"
            _in(switch, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(init))
            _in(switch, "ip", "link", "set", port, "master", "switch", "up")
            _in(init, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            _in(init, "ip", "link", "set", "eth0", "up")
            # Ray and verl ask the kernel for the address that a packet to the internet would have; none gets there.
            _in(init, "ip", "route", "add", "default", "dev", "eth0")
            nodes.append(Node(name, address, init, port, switch, base / name))
        for node in nodes:
            until(node.linked, 10.0, f"link on {node.name}")
        yield tuple(nodes)


@dataclass(frozen=True)
class Cluster:
    """A Ray whose head is on one node.

    Attributes:
        head: where a driver is to run.
        token: of this Ray alone; each process that talks to it needs it.
    """

    head: Node
    token: str

    @property
    def environment(self) -> dict[str, str]:
        """This process's, and what a driver needs."""
        return os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    @property
    def address(self) -> str:
        """For ``RAY_ADDRESS`` or ``ray_init.address``."""
        return f"{self.head.address}:{RAY_PORT}"


def start_ray(
    head: Node, worker: Node, devices: int = 1, cpus: int = 16, env: Mapping[Node, Mapping[str, str]] | None = None
) -> Cluster:
    """Start Ray on both nodes and wait until it counts two.

    Args:
        head: where the driver is to run.
        worker: the other one.
        devices: logical slots of each (``num_gpus``).
        cpus: of each, a count.
        env: what a node's Ray has in its environment besides this process's.

    Raises:
        RuntimeError: Ray did not start; with what it printed.
    """
    cluster = Cluster(head, secrets.token_hex(32))
    for node in (head, worker):
        join(cluster, node, devices, cpus, (env or {}).get(node))
    connect = f"import ray; ray.init('{cluster.address}', log_to_driver=False)"
    count = [sys.executable, "-c", f"{connect}; print('nodes', sum(node['Alive'] for node in ray.nodes()))"]
    until(lambda: "nodes 2" in head.run(count, env=cluster.environment).stdout, 60.0, "Ray with two nodes")
    return cluster


def join(cluster: Cluster, node: Node, devices: int = 1, cpus: int = 16, env: Mapping[str, str] | None = None) -> None:
    """Start Ray on one more node, e.g. on a spare one in place of one that was killed.

    Raises:
        RuntimeError: Ray did not start; with what it printed.
    """
    head = ["--head", f"--port={RAY_PORT}", "--include-dashboard=false"]
    place = head if node is cluster.head else [f"--address={cluster.address}"]
    words = [
        *(RAY, "start", *place, f"--node-ip-address={node.address}", f"--num-gpus={devices}", f"--num-cpus={cpus}"),
        *(f"--object-store-memory={400 * 2**20}", "--disable-usage-stats"),
    ]
    # Ray gives its raylet 30 s, which nothing changes; a loaded machine may need more.
    for _ in range(3):
        done = node.run(words, timeout=90.0, env={**cluster.environment, **(env or {})})
        if done.returncode == 0:
            return
        node.run([RAY, "stop", "--force"], timeout=90.0)
    raise RuntimeError(f"ray start on {node.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _first_process(stack: contextlib.ExitStack, words: Sequence[str], script: str, given: Mapping[str, str]) -> int:
    """Start ``script`` as a node's first process; its pid on the host, once it says that it is up."""
    errors = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
    outer = subprocess.Popen(
        [*words, "bash", "-c", script],
        env=os.environ | given,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        preexec_fn=_die_with_us,
    )
    stack.callback(_reap, outer)
    assert outer.stdout is not None
    if outer.stdout.readline().strip() != "up":
        errors.seek(0)
        raise RuntimeError(f"a node does not come up: {errors.read().strip()}")
    (inner,) = psutil.Process(outer.pid).children()
    return inner.pid


def _die_with_us() -> None:
    """PR_SET_PDEATHSIG: a test that is killed takes its nodes with it (``--kill-child`` passes it on)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def _reap(outer: subprocess.Popen[str]) -> None:
    everything = psutil.Process(outer.pid).children(recursive=True) if outer.poll() is None else []
    outer.kill()
    outer.wait(10)
    psutil.wait_procs(everything, timeout=20)


def _in(pid: int, *words: str) -> None:
    _run("nsenter", "--target", str(pid), "--net", *words)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=20)


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition.

    Raises:
        RuntimeError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {what} within {seconds:g} s")
        time.sleep(0.3)


def _remove(base: Path) -> None:
    """The mounts lived in the nodes; were one of them still there, nothing shared must be deleted through it."""
    if any(str(base) in line for line in Path("/proc/self/mounts").read_text().splitlines()):
        raise RuntimeError(f"{base} is still mounted")
    shutil.rmtree(base)
