"""The gradient of a step does not depend on how many processes share it: real gloo process groups of 1, 2 and 4.

Each rank takes its rows, two at a time, with the mini-batch's counts as verl passes them, and the gradients of the
shared weights are averaged over the ranks, as FSDP does. Not proved here: verl's own sharding and its counts.
"""

import multiprocessing
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from loss_cases import MODES, actor
from torch import Tensor

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss

ROWS, LENGTH, WIDTH, VOCABULARY = 8, 7, 5, 11
SECONDS = 90
"""For all of one group: a rank that hangs is ended, not waited for."""


def knobs(name: str) -> TRGRPOLossConfig:
    if name == "ratio":
        return TRGRPOLossConfig(placement="ratio")
    if name == "normalised":
        config = TRGRPOLossConfig(probability="old", normalize=True, lower=0.3)
        config.batch_mean = 0.8
        return config
    return TRGRPOLossConfig()


CASES = [(mode, name) for mode in MODES for name in ("default", "ratio", "normalised")]


def mini_batch() -> tuple[Tensor, dict[str, Tensor]]:
    """The shared weights (a linear head), and the rows: unequal lengths, one response empty."""
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths = torch.tensor([7, 1, 4, 0, 6, 2, 7, 3])
    return normal(WIDTH, VOCABULARY), {
        "features": normal(ROWS, LENGTH, WIDTH),
        "tokens": torch.randint(VOCABULARY, (ROWS, LENGTH), generator=generator),
        "shift": 0.3 * normal(ROWS, LENGTH),
        "advantages": normal(ROWS, 1).expand(ROWS, LENGTH).clone(),
        "response_mask": torch.arange(LENGTH) < lengths[:, None],
    }


def gradient(rows: list[int], mode: str, name: str, ranks: int, per_micro_batch: int) -> Tensor:
    """Of the weights, accumulated over the micro-batches of one rank."""
    start, data = mini_batch()
    head = start.requires_grad_()
    tokens = int(data["response_mask"].sum())
    config = actor(knobs(name), tokens=tokens, rows=ROWS, ranks=ranks, scale=LENGTH)
    for first in range(0, len(rows), per_micro_batch):
        part = {key: tensor[rows[first : first + per_micro_batch]] for key, tensor in data.items()}
        log_prob = (part["features"] @ head).log_softmax(-1).gather(-1, part["tokens"][..., None]).squeeze(-1)
        loss, _ = tr_grpo_loss(
            old_log_prob=log_prob.detach() - part["shift"],
            log_prob=log_prob,
            advantages=part["advantages"],
            response_mask=part["response_mask"],
            loss_agg_mode=mode,
            config=config,
        )
        loss.backward()
    return head.grad


def run_rank(rank: int, ranks: int, folder: str) -> None:
    """In a process of its own; leaves the averaged gradient of every case in a file."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=SECONDS / 2),
    )
    found = {}
    for mode, name in CASES:
        averaged = gradient(list(range(rank, ROWS, ranks)), mode, name, ranks, per_micro_batch=2)
        dist.all_reduce(averaged)
        found[mode, name] = averaged / ranks
    torch.save(found, f"{folder}/rank_{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def expected() -> dict[tuple[str, str], Tensor]:
    """One process, one micro-batch."""
    return {case: gradient(list(range(ROWS)), *case, ranks=1, per_micro_batch=ROWS) for case in CASES}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_gradient_is_that_of_one_process(
    ranks: int, expected: dict[tuple[str, str], Tensor], tmp_path: Path
) -> None:
    # A server that imports verl once and forks: safe after CUDA or threads were started here, and seconds cheaper.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tr_grpo.recipe.policy_loss"])
    processes = [context.Process(target=run_rank, args=(rank, ranks, str(tmp_path))) for rank in range(ranks)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(SECONDS)
        assert [process.exitcode for process in processes] == [0] * ranks
    finally:
        for process in processes:
            process.kill()
    for rank in range(ranks):
        found = torch.load(tmp_path / f"rank_{rank}.pt")
        for case, wanted in expected.items():
            torch.testing.assert_close(found[case], wanted, msg=lambda text, case=case: f"{case}: {text}")
            assert wanted.any()


def test_a_rank_that_counts_only_its_own_tokens_would_be_told() -> None:
    """The rows are unequal enough for the test above to fail if each rank took its own tokens for the whole."""
    _, data = mini_batch()
    counts = [int(data["response_mask"][rank::2].sum()) for rank in range(2)]
    assert counts[0] != counts[1]
