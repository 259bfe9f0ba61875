"""Asks every node of a Ray, each question with a time limit: a node that hangs must not hang the preflight."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.cluster.comparison import Offset, Place, best_offset
from tr_grpo.trainer.preflight.cluster.probe import CONNECT_S, Prober
from tr_grpo.trainer.preflight.finding import Finding, error, one_line

ANSWER_S = 90.0
"""For a worker to start and to look at its node: a cold disk takes half a minute over Python's imports."""
LOAD_S = 300.0
"""For torch, vLLM and verl to be loaded, one after the other."""
GROUP_S = 30.0
"""For a process group to form; then it gives up by itself."""
CLOCK_ROUNDS = 5


class NotJoined(Exception):
    """There is no Ray to ask; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


@contextmanager
def connected(config: DictConfig) -> Iterator[None]:
    """Ray as verl will have it, for as long as the context lasts; a new one where the address is local.

    Raises:
        NotJoined: no Ray answers, or it is another version, or it wants a token.
    """
    import ray
    from ray.exceptions import AuthenticationError
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env

    start = config.ray_kwargs.ray_init
    environment = OmegaConf.merge(get_ppo_ray_runtime_env(config), start.get("runtime_env", {}))
    arguments: Any = OmegaConf.to_container(start)
    address = start.get("address") or os.environ.get("RAY_ADDRESS")
    try:
        ray.init(**{**arguments, "runtime_env": OmegaConf.to_container(environment), "log_to_driver": False})
    except AuthenticationError as problem:
        finding = error(
            "TR510", f"the Ray at {address} refuses this user: {one_line(problem)[:200]}",
            "set RAY_AUTH_MODE=token here and where Ray starts, with the same ~/.ray/auth_token everywhere",
        )  # fmt: skip
        raise NotJoined(finding) from problem
    except ValueError as problem:
        finding = error(
            "TR506", f"the Ray at {address} cannot be joined with these arguments: {one_line(problem)[:300]}",
            "set ray_kwargs.ray_init.num_cpus=null and .num_gpus=null: a Ray that runs has its own",
        )  # fmt: skip
        raise NotJoined(finding) from problem
    except (ConnectionError, RuntimeError) as problem:
        finding = error(
            "TR510", f"the Ray at {address} cannot be joined: {one_line(problem)[:300]}",
            "start it with `ray start --head`, from the same environment as this command",
        )  # fmt: skip
        raise NotJoined(finding) from problem
    try:
        yield
    finally:
        ray.shutdown()


def places() -> dict[str, Place]:
    """The nodes that are alive, by their id in Ray."""
    import ray
    from ray._private import state  # verl counts the free devices through it, too

    free = state.available_resources_per_node()
    found = {}
    for node in ray.nodes():
        if node["Alive"]:
            spare = free.get(node["NodeID"], {})
            found[node["NodeID"]] = Place(
                host=node["NodeManagerHostname"],
                address=node["NodeManagerAddress"],
                devices=int(node["Resources"].get("GPU", 0)),
                free_devices=int(spare.get("GPU", 0)),
                free_cpus=int(spare.get("CPU", 0)),
            )
    return found


class Interview:
    """One prober on each node, until :meth:`close`.

    Attributes:
        nodes: id -> place.
        silent: id -> why the node no longer answers.
    """

    def __init__(self, nodes: Mapping[str, Place], devices_in_use: bool) -> None:
        """Start the probers.

        Args:
            nodes: of :func:`places`.
            devices_in_use: take one device on each node that has one free: Ray hides GPUs from others.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Pinned

        self.nodes = nodes
        self.silent: dict[str, str] = {}
        self.probers = {
            node: ray.remote(Prober)
            .options(
                num_cpus=0,
                num_gpus=int(devices_in_use and place.free_devices > 0),
                scheduling_strategy=Pinned(node, soft=False),
            )
            .remote()
            for node, place in nodes.items()
        }

    @property
    def answering(self) -> list[str]:
        """Ids of the nodes that have answered everything so far."""
        return [node for node in self.nodes if node not in self.silent]

    def ask(self, method: str, seconds: float, arguments: Mapping[str, tuple]) -> dict[str, Any]:
        """The answers, by node, of those that answered in time; the others are silent from now on.

        Args:
            method: of :class:`~tr_grpo.trainer.preflight.cluster.probe.Prober`.
            seconds: for all nodes together.
            arguments: by node; others are not asked.
        """
        import ray
        from ray.exceptions import RayError

        calls = {
            node: getattr(self.probers[node], method).remote(*arguments[node])
            for node in self.answering
            if node in arguments
        }
        if not calls:
            return {}
        ray.wait(list(calls.values()), num_returns=len(calls), timeout=seconds)
        answers = {}
        for node, call in calls.items():
            ready, _ = ray.wait([call], timeout=0)
            if not ready:
                self.silent[node] = f"{method}: nothing within {seconds:g} s"
                continue
            try:
                answers[node] = ray.get(call)
            except RayError as problem:
                # The cause is at the end, after Ray's identifiers.
                self.silent[node] = f"{method}: ... {one_line(problem)[-200:]}"
        return answers

    def offset(self, node: str) -> Offset | None:
        """The node's clock against ours; None where it does not answer."""
        rounds = []
        for _ in range(CLOCK_ROUNDS):
            before = time.time()
            theirs = self.ask("clock", CONNECT_S, {node: ()}).get(node)
            if theirs is None:
                return None
            rounds.append((before, theirs, time.time()))
        return best_offset(rounds)

    def close(self) -> None:
        """Stop the probers, whatever they are doing, and wait until their devices are free: verl counts free ones."""
        import ray

        for prober in self.probers.values():
            ray.kill(prober)
        before = sum(place.free_devices for place in self.nodes.values())
        deadline = time.monotonic() + CONNECT_S
        while sum(place.free_devices for place in places().values()) < before and time.monotonic() < deadline:
            time.sleep(0.1)


def broken_pairs(interview: Interview) -> dict[tuple[str, str], str]:
    """(from, to) -> why a plain TCP connection fails, on ports as any that gloo and NCCL take."""
    ports = interview.ask("listen", CONNECT_S, dict.fromkeys(interview.answering, ()))
    targets = {node: (interview.nodes[node].address, port) for node, port in ports.items()}
    others = {node: ({name: target for name, target in targets.items() if name != node},) for node in targets}
    faults = interview.ask("connect", CONNECT_S * (len(targets) + 1), others)
    return {(node, other): why for node, failed in faults.items() for other, why in failed.items()}


def without_sum(interview: Interview, backend: str) -> dict[str, str]:
    """Node -> why it has no sum over all nodes with free devices, which verl's workers make in the same way."""
    members = [node for node in interview.answering if interview.nodes[node].free_devices > 0]
    if len(members) < 2:
        return {}
    port = interview.ask("free_port", CONNECT_S, {members[0]: ()}).get(members[0])
    group = (backend, interview.nodes[members[0]].address, port, len(members), GROUP_S)
    told = interview.ask("join", 2 * GROUP_S, {node: (*group, rank) for rank, node in enumerate(members)})
    faults = {node: told.get(node, interview.silent.get(node)) for node in members}
    return {node: why for node, why in faults.items() if why is not None}
