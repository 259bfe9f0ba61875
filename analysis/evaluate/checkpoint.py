"""What MODEL means: a model folder, a name on the hub, or a verl checkpoint, merged by verl's own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import digest_of, sha256

TRACKER = "latest_checkpointed_iteration.txt"
STEP = re.compile(r"global_step_(\d+)")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
WEIGHTS = ("*.safetensors", "*.bin")
MERGED = "merged"


@dataclass(frozen=True)
class Model:
    """A model that vLLM can load."""

    path: str
    """An absolute folder, or a name on the hub."""
    run_config: Path | None
    """``config.yaml`` of the run that trained it; None for a model of no run of ours."""

    @property
    def fingerprint(self) -> str:
        """sha256 over the folder's files, or the hub's commit: what the samples are samples of."""
        folder = Path(self.path)
        if folder.is_dir():
            files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
            return digest_of({file.name: sha256(file) for file in files})
        from transformers import AutoConfig

        try:
            return f"commit {AutoConfig.from_pretrained(self.path)._commit_hash}"
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: no such folder, and the hub does not give it: {_line(error)}") from error


def find_model(name: str, step: int | None = None, report: Callable[[str], None] = lambda line: None) -> Model:
    """The model called ``name``; a sharded checkpoint is merged first, once.

    name: a Hugging Face folder or hub name; a run's folder (its latest checkpoint, or that of ``step``); its
        ``global_step_N``, or the ``actor`` in that. report: told before a merge, which takes minutes for large models.
    InputError: nothing there that could be evaluated; says what is there.
    """
    folder = Path(name).expanduser().absolute()
    if not folder.is_dir():
        if HUB_NAME.fullmatch(name) and not name.startswith("."):
            _refuse_step(step, name)
            return Model(name, None)
        raise InputError(f"{name}: no such folder; name a model, a run's folder or a checkpoint global_step_N")
    if folder.name == "actor" and STEP.fullmatch(folder.parent.name):
        folder = folder.parent
    if STEP.fullmatch(folder.name):
        _refuse_step(step, name)
        return _of_checkpoint(folder, report)
    if (folder / TRACKER).is_file() or any(STEP.fullmatch(entry.name) for entry in folder.iterdir()):
        return _of_checkpoint(folder / f"global_step_{_latest(folder) if step is None else step}", report)
    _refuse_step(step, name)
    if not (folder / "config.json").is_file():
        raise InputError(f"{name}: no model there (no config.json), no run and no checkpoint; correct the path")
    if not any(list(folder.glob(pattern)) for pattern in WEIGHTS):
        raise InputError(f"{name}: config.json without weights; name the checkpoint global_step_N above it")
    config = folder.parents[1] / "config.yaml" if folder.name == MERGED else None
    return Model(str(folder), config if config is not None and config.is_file() else None)


def _of_checkpoint(folder: Path, report: Callable[[str], None]) -> Model:
    """``global_step_N`` of a run."""
    if not folder.is_dir():
        steps = sorted(int(m[1]) for entry in folder.parent.iterdir() if (m := STEP.fullmatch(entry.name)))
        there = f"there are {', '.join(map(str, steps))}" if steps else "there is none"
        raise InputError(f"{folder}: no such checkpoint; {there}, choose one with --step")
    config = folder.parent / "config.yaml"
    return Model(str(merge(folder, report)), config if config.is_file() else None)


def merge(checkpoint: Path, report: Callable[[str], None] = lambda line: None) -> Path:
    """``global_step_N/merged``: the shards of ``actor`` as one Hugging Face folder, made by ``verl.model_merger``.

    Made in a temporary folder beside it and renamed, so it is whole or absent; one that is there is used again.
    InputError: no shards of FSDP there, no room, or the merger failed, with its last line.
    """
    target, actor = checkpoint / MERGED, checkpoint / "actor"
    if target.is_dir():
        return target
    if not any(actor.glob("model_world_size_*_rank_*.pt")):
        raise InputError(f"{actor}: no FSDP shards there (model_world_size_*_rank_*.pt); name another checkpoint")
    report(f"merging {actor} into {target}")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{MERGED}.", dir=checkpoint))
    except OSError as error:
        raise InputError(
            f"{checkpoint}: cannot write there ({error.strerror}); copy the checkpoint elsewhere"
        ) from error
    try:
        command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
        options = ["--local_dir", str(actor), "--target_dir", str(temporary)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise InputError(f"{actor}: verl's model_merger failed (status {done.returncode}): {lines[-1]}")
        _complete(actor / "huggingface", temporary)
        temporary.chmod(0o755)  # mkdtemp hides it from other users
        try:
            temporary.replace(target)
        except OSError:
            if not target.is_dir():  # else another process has just made it
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _complete(source: Path, target: Path) -> None:
    """What the merger leaves out of the model's small files (a tokenizer, a chat template)."""
    for file in source.iterdir() if source.is_dir() else []:
        if file.is_file() and not (target / file.name).exists():
            shutil.copy2(file, target / file.name)
    if (target / "lora_adapter").is_dir():
        raise InputError(f"{source.parent}: a LoRA checkpoint; merge its adapter into the base model and evaluate that")


def _latest(run: Path) -> int:
    file = run / TRACKER
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: no step there; choose a checkpoint with --step") from error


def _refuse_step(step: int | None, name: str) -> None:
    if step is not None:
        raise InputError(f"--step {step}: {name} is no run's folder; leave --step out")


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
