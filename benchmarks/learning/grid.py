"""All runs, one JSON file each: a killed grid goes on where it was."""

import json
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning.evaluate import evaluate
from benchmarks.learning.policy import generate
from benchmarks.learning.settings import LEARNING_RATES, METHODS, SEEDS, Run, Settings
from benchmarks.learning.simulate import simulate
from benchmarks.learning.tokens import probability_histogram
from benchmarks.learning.world import World
from tr_grpo.data_prep.tiny_model.examples import chat_text
from tr_grpo.data_prep.tiny_model.files import TENSORS, read_manifest

PACKAGES = ("torch", "transformers", "verl", "numpy")


def grid() -> Iterator[Run]:
    """Seed by seed, so that whatever is finished is balanced but for the last seed."""
    for seed in SEEDS:
        for lr in LEARNING_RATES:
            for method in METHODS:
                yield Run(method, lr, seed)


def provenance(world: World, settings: Settings) -> dict[str, Any]:
    """What a run's numbers depend on beside its name; the same for all runs of a grid."""
    settings_as_read = json.loads(json.dumps(asdict(settings)))
    return {"settings": settings_as_read, "start": read_manifest(world.model)["sha256"][TENSORS]}


def do(run: Run, world: World, settings: Settings, folder: Path) -> dict[str, Any]:
    """The run's result: read from ``folder`` if it is there, else simulated and written.

    Raises ValueError if the file there was made with other settings or another start model.
    """
    path = folder / f"{run.name}.json"
    versions()  # of the code as it was loaded
    made_with = provenance(world, settings)
    if path.exists():
        result: dict[str, Any] = json.loads(path.read_text())
        if {key: result[key] for key in made_with} != made_with:
            raise ValueError(f"{path}: made with other settings or another start model; move the folder away")
        return result
    result = {"run": asdict(run), **made_with, **versions(), **simulate(run, world, settings)}
    write(path, result)
    return result


def start(world: World, settings: Settings, folder: Path) -> dict[str, Any]:
    """What the start model can do, and how sure it is of its tokens; kept in ``folder``/start.json."""
    path = folder / "start.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    model, tokenizer = world.policy()
    prompts = [chat_text(tokenizer, puzzle) for puzzle in world.prompts(0, 64)]
    noise = torch.Generator().manual_seed(0)
    rollout = generate(model, tokenizer, prompts, settings.responses, settings.response_tokens, noise)
    found = {
        **provenance(world, settings),
        "once": evaluate(model, tokenizer, world.held_out, settings, samples=1, prefix="sampled"),
        **evaluate(model, tokenizer, world.held_out, settings, samples=4, prefix="sampled"),
        **evaluate(model, tokenizer, world.held_out, settings, samples=0, prefix="greedy"),
        **evaluate(model, tokenizer, world.more, settings, samples=0, prefix="greedy"),
        "histogram": probability_histogram(rollout.log_probs[rollout.response_mask].exp()),
        "tokens": int(rollout.response_mask.sum()),
    }
    write(path, found)
    return found


def write(path: Path, result: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1))
    part.replace(path)


@cache
def versions() -> dict[str, Any]:
    """Versions of what computes, and the commit when it began; ``-dirty`` where tracked files differ from it."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "commit": commit,
    }
