"""What one node says about itself, asked inside a Ray worker there."""

import os
import platform
import resource
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tr_grpo.trainer.preflight.extensions import failure
from tr_grpo.trainer.preflight.gpu import query

GIB = 1024**3
SETTINGS = ("NCCL_", "GLOO_", "TP_", "VLLM_", "TORCH_", "VERL_", "HF_", "CUDA_HOME", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Beginnings of the names of environment variables that change what a worker does; some hold secrets."""
CONNECT_S = 5.0
"""For a connection within a cluster, or a call that takes no time."""
INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")


@dataclass(frozen=True)
class Questions:
    """What every node is asked; small, for it travels to each.

    Attributes:
        run_folder: the folder below which the run writes and that exists on the driver's machine.
        token: name of the file that the driver has put there.
        inputs: files and folders that the run reads.
        hub_model: name of the model on the hub; None where it is one of the folders.
        scripts: a package's name and a program that loads its compiled parts.
        actor: ``actor_rollout_ref.actor``, resolved, as verl hands it to a worker.
    """

    run_folder: str
    token: str
    inputs: tuple[str, ...]
    hub_model: str | None
    scripts: tuple[tuple[str, str], ...]
    actor: Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What a node answers at once; sizes in GiB.

    Attributes:
        versions: of the packages that a run depends on.
        settings: environment variables by name; the values are compared and, but for interfaces, never shown.
        gpus: names, where there is ``nvidia-smi``.
        driver: newest CUDA version that the GPU driver runs.
        shared_memory: free in ``/dev/shm``.
        disks: folder -> free space, of those that exist.
        open_files: hard limit of a process.
        sees_run: whether the driver's file is there.
        write_fault: why the run folder cannot be written; None if it can.
        missing: those of the run's inputs that cannot be read there.
    """

    versions: Mapping[str, str]
    settings: Mapping[str, str]
    gpus: tuple[str, ...]
    driver: tuple[int, int] | None
    shared_memory: float
    disks: Mapping[str, float]
    open_files: float
    sees_run: bool
    write_fault: str | None
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """What a node answers once it has imported what a run imports.

    Attributes:
        faults: package -> why its compiled parts do not load.
        loss_fault: why the policy loss is not known to verl in that worker; None if it is.
    """

    faults: Mapping[str, str]
    loss_fault: str | None


class Prober:
    """Answers on one node; made a Ray actor there by :mod:`.asking`."""

    def facts(self, questions: Questions) -> Facts:
        """Everything that takes no import."""
        from tr_grpo.trainer.run_log import versions

        gpus, driver = query()
        folder = Path(questions.run_folder)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return Facts(
            versions=versions() | {"python": platform.python_version()},
            settings={name: value for name, value in os.environ.items() if name.startswith(SETTINGS)},
            gpus=tuple(gpu.name for gpu in gpus),
            driver=driver,
            shared_memory=_free("/dev/shm") or 0.0,
            disks={path: free for path in (questions.run_folder, "/tmp") if (free := _free(path)) is not None},
            open_files=float("inf") if hard == resource.RLIM_INFINITY else hard,
            sees_run=(folder / questions.token).is_file(),
            write_fault=_write_fault(folder, questions.token),
            missing=(*(path for path in questions.inputs if not _readable(path)), *_uncached(questions.hub_model)),
        )

    def clock(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def load(self, questions: Questions) -> Loaded:
        """Load each package in a process of its own, which may crash, and the loss in this one, as a worker does."""
        faults = {name: fault for name, script in questions.scripts if (fault := failure(script)) is not None}
        return Loaded(faults, _loss_fault(questions.actor))

    def free_port(self) -> int:
        """A port that nobody uses here."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return int(probe.getsockname()[1])

    def listen(self) -> int:
        """Accept connections from now on, on the port that is returned; the kernel answers them by itself."""
        self._listener = socket.create_server(("", 0), backlog=256)
        return int(self._listener.getsockname()[1])

    def connect(self, targets: Mapping[str, tuple[str, int]]) -> dict[str, str]:
        """Which of the targets (name -> address and port) do not take a connection from here, and why."""
        faults = {}
        for name, place in targets.items():
            try:
                socket.create_connection(place, timeout=CONNECT_S).close()
            except OSError as problem:
                faults[name] = str(problem.strerror or problem)
        return faults

    def join(self, backend: str, address: str, port: int, size: int, patience: float, rank: int) -> str | None:
        """Sum ones over all nodes in a process group as verl's workers make one; None if the sum is right.

        Args:
            backend: ``gloo`` on a CPU, ``nccl`` on GPUs.
            address: rank 0's.
            port: free there.
            size: number of nodes.
            patience: seconds until the group gives up.
            rank: of this node.
        """
        from datetime import timedelta

        import torch
        import torch.distributed

        device = "cuda" if backend == "nccl" else "cpu"
        try:
            torch.distributed.init_process_group(
                backend, f"tcp://{address}:{port}", timedelta(seconds=patience), world_size=size, rank=rank
            )
            total = torch.ones(1024, device=device)
            torch.distributed.all_reduce(total)
            wrong = total[0].item() != size
        except RuntimeError as problem:
            return " ".join(str(problem).split())
        torch.distributed.destroy_process_group()
        return f"the sum of {size} ones is {total[0].item():g}" if wrong else None


def _free(path: str) -> float | None:
    return shutil.disk_usage(path).free / GIB if os.path.isdir(path) else None


def _write_fault(folder: Path, token: str) -> str | None:
    mine = folder / f"{token}-{socket.gethostname()}-{os.getpid()}"
    try:
        mine.write_bytes(b"\0")
        mine.unlink()
    except OSError as problem:
        return problem.strerror or str(problem)
    return None


def _readable(path: str) -> bool:
    return os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0))


def _uncached(name: str | None) -> tuple[str, ...]:
    """A hub's model that this node may not download (HF_HUB_OFFLINE) and does not have."""
    from huggingface_hub import constants, try_to_load_from_cache

    if name is None or not constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(name, "config.json"), str):
        return ()
    return (f"{name} (HF_HUB_OFFLINE is set, and it is not in the hub's cache)",)


def _loss_fault(actor: Mapping[str, Any]) -> str | None:
    try:
        from omegaconf import OmegaConf
        from verl.trainer.ppo.core_algos import get_policy_loss_fn
        from verl.utils.config import omega_conf_to_dataclass

        knobs = omega_conf_to_dataclass(OmegaConf.create(dict(actor))).policy_loss
        get_policy_loss_fn(knobs.get("loss_mode", "vanilla"))
    except Exception as problem:  # noqa: BLE001
        # Whatever it is, it would stop that worker's actor; it is told, with its type.
        return f"{type(problem).__name__}: {' '.join(str(problem).split())}"
    return None
