"""What the weight and the measuring cost: forward and backward of the policy loss, beside verl's vanilla.

    python benchmarks/policy_loss.py [--rows 64] [--length 4096] [--rounds 30] [--threads 1]

Every number is a ratio of medians over interleaved rounds in one process: each round runs verl's ``vanilla``, the
weight alone (``tr_grpo``) and the weight with the ledger of ``recipe/token_ledger.py``. Memory is the most that
lives at once in tensors made by one pass, inputs not counted. The last line sets the cost against a whole
update of the tiny model: its forward and backward pass over one mini-batch of the quick start.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from tr_grpo.data_prep.tiny_model import SHIPPED
from tr_grpo.recipe.engine import weight_range
from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, token_weights, tr_grpo_loss
from tr_grpo.recipe.token_ledger import TokenLedger, describe

VARIANTS = ("vanilla", "weight", "weight and ledger")
KNOBS = TRGRPOLossConfig()
ACTOR = FSDPActorConfig(
    strategy="fsdp2", rollout_n=8, ppo_mini_batch_size=8, ppo_micro_batch_size_per_gpu=8, clip_ratio_low=0.2,
    clip_ratio_high=0.28, policy_loss=KNOBS,
)  # fmt: skip
Batch = dict[str, Tensor]


def batch(rows: int, length: int) -> Batch:
    """Random inputs of a policy loss; nine tokens in ten count."""
    generator = torch.Generator().manual_seed(0)
    old = torch.rand(rows, length, generator=generator).clamp(min=1e-4).log()
    return {
        "old_log_prob": old,
        "log_prob": (old + 0.1 * torch.randn(rows, length, generator=generator)).clamp(max=0).requires_grad_(),
        "advantages": torch.randn(rows, 1, generator=generator).expand(rows, length).contiguous(),
        "response_mask": torch.rand(rows, length, generator=generator) < 0.9,
    }


def once(variant: str, tensors: Batch) -> None:
    """One forward and backward pass of the loss, with everything that the engine adds around it."""
    loss_function = get_policy_loss_fn("vanilla") if variant == "vanilla" else tr_grpo_loss
    log_prob = tensors["log_prob"]
    if variant != "weight and ledger":
        loss_function(**tensors, config=ACTOR)[0].backward()
        log_prob.grad = None
        return
    ledger = TokenLedger(weight_range(KNOBS))
    probability = log_prob.detach().exp()
    w = token_weights(KNOBS, log_prob, tensors["old_log_prob"])
    handle = log_prob.register_hook(
        lambda gradient: ledger.add(probability, w, tensors["advantages"], tensors["response_mask"], gradient)
    )
    loss_function(**tensors, config=ACTOR)[0].backward()
    handle.remove()
    log_prob.grad = None
    describe(ledger.totals().tolist())


def seconds(task: Callable[[], None]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def timed(tensors: Batch, rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in each round; the first round only warms up."""
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds + 1):
        for variant in VARIANTS:
            times[variant].append(seconds(lambda variant=variant: once(variant, tensors)))  # type: ignore[misc]
    return {variant: found[1:] for variant, found in times.items()}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that operations make and that are still alive; ``peak`` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak, self._seen = 0, 0, weakref.WeakSet[torch.UntypedStorage]()

    def _freed(self, size: int) -> None:
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._seen:
                self._seen.add(storage)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._freed, storage.nbytes())
        return result


def peak_megabytes(variant: str, tensors: Batch) -> float:
    """Most memory at once that one pass of ``variant`` takes beyond its inputs."""
    with LiveBytes() as counted:
        once(variant, tensors)
    return counted.peak / 2**20


def model_seconds(
    rounds: int, responses: int = 32, prompt: int = 80, response: int = 128
) -> tuple[float, float, float]:
    """Medians for one mini-batch: the tiny model forward and backward, vanilla, weight and ledger."""
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    ids = torch.randint(8, model.config.vocab_size, (responses, prompt + response))
    tensors = batch(responses, response)

    def update() -> None:
        logits = model(ids).logits[:, prompt - 1 : -1].log_softmax(-1)
        logits.gather(2, ids[:, prompt:, None]).mean().backward()
        model.zero_grad()

    update()
    return [
        statistics.median(seconds(update) for _ in range(max(3, rounds // 5))),
        statistics.median(seconds(lambda: once("vanilla", tensors)) for _ in range(rounds)),
        statistics.median(seconds(lambda: once("weight and ledger", tensors)) for _ in range(rounds)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tensors = batch(arguments.rows, arguments.length)
    times = timed(tensors, arguments.rounds)
    table = Table(
        title=f"{arguments.rows} x {arguments.length} tokens, {arguments.threads} thread(s), {platform.machine()}"
    )
    for heading in ("variant", "ms, median (quartiles)", "ratio to vanilla", "peak memory, MB"):
        table.add_column(heading, justify="right")
    for variant, found in times.items():
        low, middle, high = (1e3 * value for value in statistics.quantiles(found, n=4))
        ratio = statistics.median(own / other for own, other in zip(found, times["vanilla"], strict=True))
        peak = peak_megabytes(variant, tensors)
        table.add_row(variant, f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{ratio:.3f}", f"{peak:.0f}")
    console = Console()
    console.print(table)
    model, plain, measured = model_seconds(arguments.rounds)
    console.print(
        f"tiny model, 32 x (80 + 128) tokens: model {1e3 * model:.0f} ms, vanilla loss {1e3 * plain:.2f} ms, weight "
        f"and ledger {1e3 * measured:.2f} ms: {100 * (measured - plain) / (model + measured):.2f} % of the update",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
