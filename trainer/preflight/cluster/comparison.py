"""TR541 to TR549: what the nodes' answers mean for the run. Pure: no Ray, no clock, no disk."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tr_grpo.trainer.preflight.cluster.probe import INTERFACES, Facts, Loaded
from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.machine import DISK_GIB, OBJECT_STORE_GIB
from tr_grpo.trainer.preflight.ray_start import CPUS_A_DEVICE, LEAST_FILES, TASK_RUNNER_CPUS

SHOWN = 3
"""Nodes or pairs that a line names."""
LISTED = 16
"""Nodes that a line describes where the question is which are there."""
CLOCK_S = 1.0
"""Log lines and file times of two nodes cannot be put in order beyond that."""


@dataclass(frozen=True)
class Place:
    """A node as Ray lists it, and what is free there now."""

    host: str
    address: str
    devices: int
    free_devices: int
    free_cpus: int

    @property
    def name(self) -> str:
        """For a message: host and address tell nodes apart even where images share a host name."""
        return f"{self.host} ({self.address})"


@dataclass(frozen=True)
class Offset:
    """How far a node's clock is ahead of the driver's, in seconds, and by how much that may be wrong."""

    ahead: float
    error: float


def best_offset(rounds: Sequence[tuple[float, float, float]]) -> Offset:
    """The offset by the round trip with the least delay, with half of that delay as its error (NTP, RFC 5905).

    Args:
        rounds: our clock before, the node's clock, our clock after; at least one.
    """
    before, theirs, after = min(rounds, key=lambda one: one[2] - one[0])
    return Offset(theirs - (before + after) / 2, (after - before) / 2)


@dataclass(frozen=True)
class Answer:
    """All that one node said; None where it did not, ``silence`` says why."""

    place: Place
    facts: Facts | None = None
    clock: Offset | None = None
    loaded: Loaded | None = None
    silence: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What the run asks of the nodes.

    Attributes:
        nodes: ``trainer.nnodes``.
        devices: ``trainer.n_gpus_per_node``.
        run_folder: as the driver sees it.
        built_for: CUDA version that torch is built for; None on a CPU.
    """

    nodes: int
    devices: int
    run_folder: str
    built_for: str | None


def compare(answers: Sequence[Answer], wanted: Wanted) -> Iterator[Finding]:
    """Everything that is wrong with one node, or between two.

    Args:
        answers: one a node that is alive.
        wanted: by the run.
    """
    yield from _devices([answer.place for answer in answers if answer.silence is None], wanted)
    yield from silent({answer.place.name: answer.silence for answer in answers if answer.silence is not None})
    yield from _versions(answers)
    yield from _settings(answers)
    for answer in answers:
        if answer.facts is not None:
            yield from _files(answer.place.name, answer.facts, wanted)
            yield from _machine(answer.place.name, answer.facts, wanted)
        if answer.loaded is not None:
            yield from _loaded(answer.place.name, answer.loaded)
        if answer.clock is not None:
            yield from _clock(answer.place.name, answer.clock)


def silent(nodes: Mapping[str, str]) -> Iterator[Finding]:
    """TR549 for nodes, by name, that did not answer for the reason given."""
    for name, why in nodes.items():
        yield error(
            "TR549", f"{name} did not answer: {why}",
            "look at that node (`ray status`, its raylet's log, its load), or take it out of the cluster",
        )  # fmt: skip


def _devices(places: Sequence[Place], wanted: Wanted) -> Iterator[Finding]:
    """verl wants ``devices`` on one node, ``nodes`` times, with CPUs beside them; less is waited for, or fails late."""
    fits = [
        min(place.free_devices // wanted.devices, place.free_cpus // (CPUS_A_DEVICE * wanted.devices))
        for place in places
    ]
    left = sum(place.free_cpus for place in places) - CPUS_A_DEVICE * wanted.devices * wanted.nodes
    if sum(fits) >= wanted.nodes and left >= TASK_RUNNER_CPUS:
        return
    there = "; ".join(
        f"{place.name}: {place.free_devices} of {place.devices} devices and {place.free_cpus} CPUs free"
        for place in places[:LISTED]
    )
    yield error(
        "TR548",
        f"trainer.nnodes={wanted.nodes} x n_gpus_per_node={wanted.devices} (with {CPUS_A_DEVICE} CPUs a device, and "
        f"{TASK_RUNNER_CPUS} for the trainer) do not fit into the {len(places)} nodes that answer: {there or 'none'}"
        + (f"; and {len(places) - LISTED} more" if len(places) > LISTED else ""),
        "start Ray on the missing nodes, stop what holds the devices (`ray status`), or lower trainer.nnodes",
    )


def _versions(answers: Sequence[Answer]) -> Iterator[Finding]:
    """A node without a device may have another stack: it runs the trainer's loop and no model."""
    known = [(answer, answer.facts.versions) for answer in answers if answer.facts is not None]
    for package in sorted({name for _, versions in known for name in versions}):
        groups = _grouped((answer.place.name, versions.get(package, "none")) for answer, versions in known)
        if len(groups) > 1:
            among = {versions.get(package, "none") for answer, versions in known if answer.place.devices}
            report = error if len(among) > 1 else warning
            yield report(
                "TR541", f"{package} differs between the nodes: {_told(groups)}",
                "install the same lock file on every node (scripts/setup.sh), or use one image",
            )  # fmt: skip


def _settings(answers: Sequence[Answer]) -> Iterator[Finding]:
    """Names alone: a value may be a secret."""
    known = [(answer.place.name, answer.facts.settings) for answer in answers if answer.facts is not None]
    names = {name for _, settings in known for name in settings} - set(INTERFACES)
    differing = [name for name in sorted(names) if len({settings.get(name) for _, settings in known}) > 1]
    if differing:
        yield warning(
            "TR541", f"these environment variables differ between the nodes: {', '.join(differing)}",
            "set them alike where Ray starts, or under ray_kwargs.ray_init.runtime_env.env_vars",
        )  # fmt: skip


def _files(name: str, facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    if not facts.sees_run:
        yield error(
            "TR544", f"{name} does not see what the driver wrote below {wanted.run_folder}: it is another folder",
            "set paths.outputs to a folder on a file system that all nodes share; checkpoints are not whole otherwise",
        )  # fmt: skip
    elif facts.write_fault is not None:
        yield error(
            "TR544", f"{name} cannot write below {wanted.run_folder} ({facts.write_fault})",
            "give the user that runs Ray there the right to write, or remount the file system",
        )  # fmt: skip
    if facts.missing:
        yield error(
            "TR545", f"{name} cannot read {', '.join(facts.missing)}",
            "copy it there under the same path (`hf download` for a hub's model), or share the file system",
        )  # fmt: skip


def _machine(name: str, facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """What the preflight looks at on the driver's machine, for each of the others."""
    if facts.shared_memory < OBJECT_STORE_GIB:
        yield warning(
            "TR503", f"{name}: /dev/shm has {facts.shared_memory:.2f} GiB free",
            "in a container, start it with --shm-size=4g",
        )  # fmt: skip
    for folder, free in facts.disks.items():
        if free < DISK_GIB:
            yield error("TR505", f"{name}: {folder} has {free:.2f} GiB free", "free some space there")
    if facts.open_files < LEAST_FILES:
        yield warning("TR509", f"{name}: a process may open {facts.open_files:g} files", "raise the hard limit there")
    if facts.driver and wanted.built_for and facts.driver[0] < int(wanted.built_for.partition(".")[0]):
        yield error(
            "TR531",
            f"{name}: the GPU driver runs CUDA {facts.driver[0]}.{facts.driver[1]} at most, and torch is built "
            f"for {wanted.built_for}",
            "update that node's driver",
        )  # fmt: skip


def _loaded(name: str, loaded: Loaded) -> Iterator[Finding]:
    for package, fault in loaded.faults.items():
        yield error(
            "TR542", f"{package} does not load on {name}: {fault}",
            "run scripts/setup.sh there for the locked stack, or use one image",
        )  # fmt: skip
    if loaded.loss_fault is not None:
        yield error(
            "TR546", f"the policy loss is not registered in a worker on {name}: {loaded.loss_fault}",
            "install the module that registers it on every node, in the Python that runs Ray there",
        )  # fmt: skip


def _clock(name: str, clock: Offset) -> Iterator[Finding]:
    if abs(clock.ahead) - clock.error > CLOCK_S:
        yield warning(
            "TR543",
            f"the clock of {name} is {abs(clock.ahead):.2f} s (error at most {clock.error:.2f} s) "
            f"{'ahead of' if clock.ahead > 0 else 'behind'} the driver's",
            "set the clocks (chrony, ntpd): times in logs and of files are wrong otherwise",
        )


def disconnected(pairs: Mapping[tuple[str, str], str]) -> Iterator[Finding]:
    """TR547 for nodes that do not connect to each other.

    Args:
        pairs: (from, to) -> why a plain connection fails.
    """
    if pairs:
        yield error(
            "TR547", "; ".join(f"{a} does not reach {b} ({why})" for (a, b), why in islice(pairs.items(), SHOWN))
            + (f" and {len(pairs) - SHOWN} more pairs" if len(pairs) > SHOWN else ""),
            "open all ports between the nodes (firewall, security group, network policy)",
        )  # fmt: skip


def not_joined(faults: Mapping[str, str], backend: str, answers: Sequence[Answer]) -> Iterator[Finding]:
    """TR547 for nodes that connect and yet make no process group.

    Args:
        faults: node -> why it has no sum.
        backend: ``gloo`` or ``nccl``.
        answers: whose environments may name interfaces.
    """
    if not faults:
        return
    said = "; ".join(f"{node}: {why[:200]}" for node, why in islice(faults.items(), SHOWN))
    yield error(
        "TR547",
        f"the nodes reach each other by TCP, but no {backend} process group over them works; {named(answers)}; {said}",
        f"set {backend.upper()}_SOCKET_IFNAME on each node to the interface that has its address (`ip -br address`)",
    )


def named(answers: Sequence[Answer]) -> str:
    """Which interface each node's environment names."""
    said = defaultdict(list)
    for answer in answers:
        for name in INTERFACES:
            if answer.facts is not None and name in answer.facts.settings:
                said[f"{name}={answer.facts.settings[name]}"].append(answer.place.name)
    return "; ".join(f"{setting} on {', '.join(nodes)}" for setting, nodes in said.items()) or "no interface is named"


def _grouped(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for node, value in pairs:
        groups[value].append(node)
    return dict(groups)


def _told(groups: Mapping[str, Sequence[str]]) -> str:
    """Rare values first, for those are the odd ones out; a large cluster is not listed in full."""
    parts = []
    for value, nodes in sorted(groups.items(), key=lambda item: len(item[1])):
        shown = ", ".join(nodes[:SHOWN]) + (f" and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else "")
        parts.append(f"{value} on {shown}")
    return "; ".join(parts)
