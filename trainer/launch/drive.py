"""The driver of a cluster: waits until every node has joined Ray, then becomes ``tr-grpo train``.

Runs where Ray's head runs, as the child of ``node.py`` or as the entry point of a Ray job.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import exit_status
from tr_grpo.trainer.launch import attach

RANK_LABEL = "tr-grpo/rank"
"""Label of a node in Ray; ``node.py`` sets it, so that a missing host has a name."""
CPUS_A_DEVICE = 3
TASK_RUNNER_CPUS = 1
"""As in ``preflight/ray_start.py``, whose import takes seconds; a test compares them."""
POLL_S = 1.0


@dataclass(frozen=True)
class Member:
    """One node that has joined Ray.

    Attributes:
        rank: of its label; None where somebody else started Ray.
        address: its IP.
        devices: Ray's count of GPUs.
        cpus: Ray's count of CPUs.
    """

    rank: int | None
    address: str
    devices: int
    cpus: int

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Member":
        """From an entry of ``ray.nodes()``."""
        resources, labels = node["Resources"], node.get("Labels") or {}
        rank = labels.get(RANK_LABEL)
        return cls(
            None if rank is None else int(rank),
            node["NodeManagerAddress"],
            int(resources.get("GPU", 0)),
            int(resources.get("CPU", 0)),
        )


def drive(
    words: Sequence[str], nodes: int | None, devices: int | None, hosts: Sequence[str], wait_s: float
) -> NoReturn:
    """Wait for the nodes and train; this process becomes ``tr-grpo train``, which then has its signals and status.

    Args:
        words: the command line after ``tr-grpo train``.
        nodes: how many to wait for; None counts those with a device that are there now.
        devices: of each node; None takes what they have.
        hosts: the nodes' names by rank, or none.
        wait_s: seconds to wait.

    Raises:
        InputError: they did not come, or are not what was asked for.
    """
    _stop_on_request()
    members = _wait(nodes, hosts, wait_s)
    count, each = settle(members, nodes, devices)
    print(f"launch: {count} nodes with {each} devices each have joined; the training starts", flush=True)
    # verl passes variables to Ray that a job's submitter may have set, too; the driver's win.
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    command = [sys.executable, "-m", "tr_grpo.trainer.cli", "train", *words, *attach.overrides(count, each)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


def missing(members: Sequence[Member], nodes: int, hosts: Sequence[str]) -> list[str]:
    """The nodes that have not joined, by name where it is known.

    Args:
        members: who has joined.
        nodes: how many there have to be.
        hosts: names by rank, or none.
    """
    if hosts:
        here = {member.rank for member in members}
        return [host for rank, host in enumerate(hosts) if rank not in here]
    lacking = nodes - sum(member.devices > 0 for member in members)
    return [f"{lacking} of {nodes} nodes"] if lacking > 0 else []


def settle(members: Sequence[Member], nodes: int | None, devices: int | None) -> tuple[int, int]:
    """The number of nodes and of devices of each that the run uses.

    Raises:
        InputError: the cluster does not have that, or has too few CPUs for verl, which would wait for ever.
    """
    workers = [member for member in members if member.devices > 0]
    if not workers:
        raise InputError("no node of this Ray has a GPU; for a CPU start it with `ray start --num-gpus=<slots>`")
    each = devices if devices is not None else workers[0].devices
    uneven = [member for member in workers if member.devices < each or (devices is None and member.devices != each)]
    if uneven:
        raise InputError(
            f"{uneven[0].address} has {uneven[0].devices} devices, not {each}: every node needs as many; "
            "set trainer.nnodes and trainer.n_gpus_per_node, or leave that node out"
        )
    count = nodes if nodes is not None else len(workers)
    needed = CPUS_A_DEVICE * each * count + TASK_RUNNER_CPUS
    if (cpus := sum(member.cpus for member in members)) < needed:
        raise InputError(
            f"Ray counts {cpus} CPUs on all nodes, and verl asks for {needed}: it would wait for ever; start Ray with "
            f"more on each node (--cpus={needed // count + 8}; `ray start --num-cpus`): to Ray it is only a count"
        )
    return count, each


def _wait(nodes: int | None, hosts: Sequence[str], wait_s: float) -> list[Member]:
    import ray

    ray.init(address="auto", log_to_driver=False, logging_level="warning")
    deadline = time.monotonic() + wait_s
    while True:
        members = [Member.of(node) for node in ray.nodes() if node["Alive"]]
        absent = missing(members, nodes or 1, hosts)
        if not absent:
            break
        if time.monotonic() > deadline:
            ray.shutdown()
            raise InputError(
                f"after {wait_s:g} s these have not joined Ray: {', '.join(absent)}; look into their logs, and whether "
                "they reach this node's ports (docs/multi_node.md)"
            )
        time.sleep(POLL_S)
    ray.shutdown()
    return members


def _stop_on_request() -> None:
    """Until the training starts nothing can be lost; ``tr-grpo train`` has handlers of its own."""

    def stop(signum: int, frame: FrameType | None) -> None:
        sys.exit(exit_status.STOPPED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, stop)
