"""What a launcher is told about a run, and what it makes of it."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tr_grpo.data_prep.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CHECKS = ("batch", "sampling", "loss", "verl's own")
"""The parts of the preflight that say the same on any machine; the others run where the run does."""


@dataclass(frozen=True)
class Job:
    """One run on a cluster.

    Attributes:
        name: of the experiment.
        words: the command line after ``tr-grpo train``, untouched.
        nodes: how many to ask for (``trainer.nnodes``); inside an allocation, the allocation's number counts.
        devices: of each node (``trainer.n_gpus_per_node``): GPUs, or slots on a CPU.
        gpus: whether the devices are GPUs, which a scheduler hands out.
        cpus: what Ray is to count as CPUs on each node; None for what it finds.
        dashboard: whether Ray's dashboard is wanted.
        run_folder: absolute (``trainer.default_local_dir``).
        folder: from which the command is given on each node; relative paths in ``words`` start there.
        program: ``tr-grpo`` on the nodes.
        variables: names of environment variables that go along.
        wait_s: seconds that the head waits for all nodes.
        dashboard_host: the address at which the head's dashboard listens.
    """

    name: str
    words: tuple[str, ...]
    nodes: int
    devices: int
    gpus: bool
    run_folder: Path
    folder: Path
    program: str
    cpus: int | None = None
    dashboard: bool = True
    variables: tuple[str, ...] = ()
    wait_s: int = 600
    dashboard_host: str = "127.0.0.1"

    @property
    def logs(self) -> Path:
        """Where every node's log is gathered."""
        return self.run_folder / "logs"

    @property
    def node_options(self) -> list[str]:
        """Options of ``tr-grpo launch node`` that follow from the run, not from the allocation."""
        options = [f"--wait={self.wait_s}", f"--logs={self.logs}"]
        if not self.gpus:
            options.append(f"--devices={self.devices}")
        if self.cpus is not None:
            options.append(f"--cpus={self.cpus}")
        options.append(f"--dashboard-host={self.dashboard_host}" if self.dashboard else "--no-dashboard")
        return options


@dataclass(frozen=True)
class Rendered:
    """What a launcher would do, in full.

    Attributes:
        files: content by name; written into the launch folder.
        commands: what then runs, beginning in the launch folder.
    """

    files: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]


def make(
    words: Sequence[str],
    variables: Sequence[str] = (),
    nodes: int | None = None,
    folder: Path | None = None,
    program: str | None = None,
    wait_s: int = 600,
    dashboard_host: str = "127.0.0.1",
) -> tuple[Job, "DictConfig"]:
    """Compose the run, as ``tr-grpo train`` will, and say what it asks of a cluster.

    Args:
        words: the command line after ``tr-grpo train``.
        variables: names of environment variables that go along.
        nodes: what an allocation that is there already has, such as a list of hosts.
        folder: working folder on the nodes where they do not share this file system; this one if not given.
        program: ``tr-grpo`` on the nodes; this one if not given.
        wait_s: see :class:`Job`.
        dashboard_host: see :class:`Job`.

    Returns:
        The job and its resolved config.

    Raises:
        InputError: the words are wrong, or contradict the allocation.
    """
    from omegaconf import OmegaConf

    from tr_grpo.trainer.compose import compose
    from tr_grpo.trainer.main import use_absolute_paths

    if nodes is not None and any(word.lstrip("+").startswith("trainer.nnodes=") for word in words):
        raise InputError(f"trainer.nnodes: leave it out; the allocation has {nodes} nodes, and that is what counts")
    config = compose([*words, *([] if nodes is None else [f"trainer.nnodes={nodes}"])])
    if folder is None:
        use_absolute_paths(config)
    OmegaConf.resolve(config)
    folder = folder or Path.cwd()
    ray_init = config.ray_kwargs.ray_init
    job = Job(
        name=str(config.trainer.experiment_name),
        words=tuple(words),
        nodes=int(config.trainer.nnodes),
        devices=int(config.trainer.n_gpus_per_node),
        gpus=config.trainer.device != "cpu",
        cpus=ray_init.get("num_cpus"),
        dashboard=ray_init.get("include_dashboard") is not False,
        run_folder=folder / os.path.expanduser(config.trainer.default_local_dir),
        folder=folder,
        program=program or this_program(),
        variables=tuple(variables),
        wait_s=wait_s,
        dashboard_host=dashboard_host,
    )
    return job, config


def this_program() -> str:
    """The ``tr-grpo`` beside this Python, as it is called on a machine that shares this file system."""
    beside = Path(sys.executable).with_name("tr-grpo")
    found = str(beside) if beside.is_file() else shutil.which("tr-grpo")
    if found is None:
        raise InputError("tr-grpo is not installed here as a command; name it with --program")
    return found


def check(config: "DictConfig") -> None:
    """The preflight's checks that say the same on any machine.

    Raises:
        InputError: what would stop the run, one line each.
    """
    from tr_grpo.trainer import preflight
    from tr_grpo.trainer.compose import environment

    os.environ.update(environment(config))  # verl reads it when it is imported
    errors = []
    for part in preflight.CHECKS:
        if part.name in CHECKS:
            errors += [finding for finding in part.run(config) if finding.severity is preflight.Severity.ERROR]
        if errors:
            raise InputError("\n       ".join(f"{e.code} {e.message} -> {e.fix}" for e in errors))
