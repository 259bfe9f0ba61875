"""Why methods differ or not: how far a weight turns the gradient, beside how far the next batch turns it.

On the same responses each method's gradient is compared with GRPO's (cosine). Over independent batches, the part
of a gradient that they share is signal, the rest is noise of sampling: with g_i of batch i, the signal's squared norm
is estimated without bias by the mean of g_i · g_j over i ≠ j.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.learning.settings import METHODS, Run, Settings
from benchmarks.learning.simulate import Batch, Simulator
from benchmarks.learning.world import World

BATCHES = 16
SEED = 50
"""Prompts and noise of the batches; no run of the grid has it."""


def directions(world: World, settings: Settings, warm_steps: int, lr: float) -> pd.DataFrame:
    """One row a method: at the policy that GRPO reaches after ``warm_steps`` steps at ``lr``.

    ``cosine_to_grpo``: mean over batches of the cosine with GRPO's gradient of the same 64 responses.
    ``signal_share``: squared norm of the shared part over the mean squared norm of a batch's gradient; its
    difference to GRPO's has the jackknife's ``standard_error`` over batches.
    ``signal_cosine``: cosine of the mean gradient with GRPO's; its own noise is 1 / ``BATCHES`` of a batch's.
    """
    settings = replace(settings, probe_every=10**9, mini_batch=settings.prompts)
    model, tokenizer = world.policy()
    run = Run("grpo", lr, SEED)
    trainer = Simulator(model, tokenizer, run.actor(settings), lr, SEED, replace(settings, mini_batch=4))
    order = world.prompts(SEED, (warm_steps + BATCHES) * settings.prompts)
    groups = [order[i : i + settings.prompts] for i in range(0, len(order), settings.prompts)]
    for number in range(1, warm_steps + 1):
        trainer.step(number, groups[number - 1])
    batches = [trainer.sample(number, groups[number])[0] for number in range(warm_steps, warm_steps + BATCHES)]
    found: dict[str, Tensor] = {}
    for method in METHODS:
        probe = Simulator(model, tokenizer, Run(method, lr, SEED).actor(settings), lr, SEED, settings)
        found[method] = torch.stack([_gradient(probe, batch) for batch in batches])
    return pd.DataFrame([{"method": name} | _summary(own, found["grpo"]) for name, own in found.items()])


def _gradient(probe: Simulator, batch: Batch) -> Tensor:
    """The method's gradient of one batch, before clipping, flat."""
    probe.backward(batch, probe.actor)
    return torch.cat([p.grad.flatten() for p in probe.model.parameters() if p.grad is not None])


def _summary(own: Tensor, grpo: Tensor) -> dict[str, Any]:
    """Of gradients (batches, parameters)."""
    own, grpo = own.double(), grpo.double()
    products, reference = (own @ own.T).numpy(), (grpo @ grpo.T).numpy()
    return {
        "cosine_to_grpo": torch.cosine_similarity(own, grpo).mean().item(),
        "norm": float(np.trace(products) / len(products)) ** 0.5,
        "signal_share": signal_share(products),
        "signal_share_difference": signal_share(products) - signal_share(reference),
        "standard_error": jackknife(products, reference),
        "signal_cosine": torch.cosine_similarity(own.mean(0), grpo.mean(0), dim=0).item(),
    }


def signal_share(products: np.ndarray) -> float:
    """Signal's share of the squared norm from the products g_i . g_j, (batches, batches)."""
    n, whole = len(products), np.trace(products)
    return float((products.sum() - whole) / (n - 1) / whole)


def jackknife(products: np.ndarray, reference: np.ndarray) -> float:
    """Standard error of the difference of two signal shares of the same batches, each left out in turn."""
    n = len(products)
    parts = [np.ix_(kept, kept) for kept in (np.delete(np.arange(n), i) for i in range(n))]
    differences = np.array([signal_share(products[part]) - signal_share(reference[part]) for part in parts])
    return float(np.sqrt((n - 1) / n * ((differences - differences.mean()) ** 2).sum()))
