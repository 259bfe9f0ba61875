"""All processes of an evaluation: one a device, or a group of devices, each with an engine and its problems."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from omegaconf import DictConfig

from tr_grpo.analysis.evaluate.samples import SampleFolder
from tr_grpo.analysis.evaluate.settings import SAMPLES
from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import processes
from tr_grpo.trainer.compose import environment

POLL_SECONDS = 0.5
STOP_SECONDS = 20.0


class WorkerFailed(RuntimeError):
    """A process of the evaluation ended before its share was done; the message names its log."""


@dataclass(frozen=True)
class Placement:
    """Which devices each process sees; on a CPU all see the same."""

    device: str
    groups: tuple[str, ...]
    """Values of CUDA_VISIBLE_DEVICES, one a process."""


def place(config: DictConfig, devices: int | None) -> Placement:
    """One process for each ``tensor_model_parallel_size`` GPUs, or ``devices`` processes on a CPU (by default one).

    InputError: more devices than there are, or a number that the tensor parallelism does not divide.
    """
    if devices is not None and devices < 1:
        raise InputError(f"--devices {devices}: has to be at least 1")
    if config.trainer.device == "cpu":
        return Placement("cpu", ("",) * (devices or 1))
    visible = _visible_gpus()
    if not visible:
        raise InputError(f"trainer.device={config.trainer.device}: no GPU is visible here; cluster=cpu needs none")
    size = int(config.actor_rollout_ref.rollout.tensor_model_parallel_size)
    wanted = len(visible) // size * size if devices is None else devices
    if wanted > len(visible) or wanted < size or wanted % size:
        raise InputError(
            f"--devices {wanted}: {len(visible)} are visible, and tensor_model_parallel_size={size} has to divide it"
        )
    groups = tuple(",".join(visible[first : first + size]) for first in range(0, wanted, size))
    return Placement("cuda", groups)


def _visible_gpus() -> list[str]:
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Only one evaluation writes into ``folder``, which is made; gives the lock's file descriptor.

    The processes inherit it, so it holds until the last of them has written what it had.
    InputError: another one holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file: IO[str] = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror}); choose another --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{folder}: another evaluation is writing there; wait for it or choose another --out"
            ) from error
        yield file.fileno()


def run(folder: Path, config: DictConfig, placement: Placement, lock: int, progress: Callable[[int], None]) -> None:
    """Start the processes and wait until all are done; they are stopped, whatever happens.

    progress: called twice a second with the number of samples that were written since the start.
    WorkerFailed: one of them ended early.
    """
    samples = SampleFolder(folder / SAMPLES)
    samples.clean()
    start = samples.next_start()
    processes.adopt_orphans()
    logs = [folder / f"worker-{rank}.log" for rank in range(len(placement.groups))]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for rank, log in enumerate(logs):
            running.append(_start(folder, config, placement, rank, start, lock, log))
        _watch(running, logs, samples, start, progress)
    finally:
        # A second Ctrl-C must not leave the clean-up half done; it takes seconds.
        processes.ignore_interrupts()
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        processes.stop_descendants()


def _start(
    folder: Path, config: DictConfig, placement: Placement, rank: int, start: int, lock: int, log: Path
) -> subprocess.Popen[bytes]:
    # Spawned processes end with their parents, see worker.py; forked ones would not.
    variables = os.environ | environment(config) | {"VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn"}
    if placement.device == "cuda":
        variables["CUDA_VISIBLE_DEVICES"] = placement.groups[rank]
    command = [sys.executable, "-m", "tr_grpo.analysis.evaluate.worker", str(folder.absolute())]
    numbers = {"--rank": rank, "--of": len(placement.groups), "--start": start, "--parent": os.getpid()}
    with log.open("ab") as file:
        return subprocess.Popen(
            [*command, *(str(word) for pair in numbers.items() for word in pair)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=variables,
            # Ctrl-C reaches the command alone, which lets them write what they have.
            start_new_session=True,
            pass_fds=(lock,),
        )


def _watch(
    running: Sequence[subprocess.Popen[bytes]],
    logs: Sequence[Path],
    samples: SampleFolder,
    start: int,
    progress: Callable[[int], None],
) -> None:
    counted: dict[Path, int] = {}
    while True:
        states = [process.poll() for process in running]
        _count(samples, start, counted)
        progress(sum(counted.values()))
        for rank, (state, log) in enumerate(zip(states, logs, strict=True)):
            if state not in (None, 0):
                raise WorkerFailed(f"process {rank} ended with status {state}; see {log}: {_last_line(log)}")
        if all(state == 0 for state in states):
            return
        time.sleep(POLL_SECONDS)


def _count(samples: SampleFolder, start: int, counted: dict[Path, int]) -> None:
    """Add the rows of this start's new parts; only their footers are read."""
    import pyarrow.parquet as pq

    for part in samples.path.glob(f"part-{start:04d}-*.parquet"):
        if part not in counted:
            counted[part] = pq.read_metadata(part).num_rows


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or ["it is empty"])[-1].removeprefix("error: ")
