"""TR105, TR106: the compiled parts of vLLM and flash-attn load beside the installed torch.

A wheel that was built for another torch has undefined symbols: an import error minutes into the run, in a worker
(verl#3351). Each part is loaded in a process of its own, which may crash without harm.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error

PATIENCE_S = 120.0
"""A cold disk takes half a minute over torch."""

# vLLM for CPUs ships one library for each instruction set; the others must not be loaded.
VLLM = """
import importlib.util, pathlib, torch
folder = pathlib.Path(next(iter(importlib.util.find_spec("vllm").submodule_search_locations)))
narrow = folder / "_C_AVX2.abi3.so"
use_narrow = narrow.exists() and torch.backends.cpu.get_cpu_capability() != "AVX512"
torch.ops.load_library(narrow if use_narrow else folder / "_C.abi3.so")
"""
FLASH_ATTENTION = "import torch, flash_attn_2_cuda"


def check(config: DictConfig) -> Iterator[Finding]:
    """vLLM's library always; flash-attn's where the model is to use it."""
    if importlib.util.find_spec("vllm") is not None:  # else TR104
        yield from _probe("vllm", VLLM)
    if config.trainer.device == "cpu":
        return
    chosen = config.actor_rollout_ref.model.override_config.get("attn_implementation", "flash_attention_2")
    if chosen != "flash_attention_2":
        return
    if importlib.util.find_spec("flash_attn") is not None:
        yield from _probe("flash_attn", FLASH_ATTENTION)
    elif importlib.util.find_spec("kernels") is None:  # transformers' other source of it
        yield error(
            "TR106", "flash-attn is not installed, and verl loads models with attn_implementation=flash_attention_2",
            "run scripts/setup.sh cuda, or set +actor_rollout_ref.model.override_config.attn_implementation=sdpa",
        )  # fmt: skip


def _probe(name: str, script: str) -> Iterator[Finding]:
    fault = failure(script)
    if fault is not None:
        yield error(
            "TR105", f"{name}'s compiled part does not load beside the installed torch: {fault}",
            "run scripts/setup.sh for the locked stack: the two were built for different versions",
        )  # fmt: skip


def failure(script: str, patience: float = PATIENCE_S) -> str | None:
    """Run ``script`` in a Python of its own; None if it succeeds, else its last line or the signal that killed it."""
    try:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=patience)
    except subprocess.TimeoutExpired:
        return f"no answer within {patience:.0f} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"
