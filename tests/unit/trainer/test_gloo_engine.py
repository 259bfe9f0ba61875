"""The checkpoint engine for a CPU, between real gloo groups: what arrives is what was sent, and verl finds it."""

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

from tr_grpo.trainer.cpu.gloo_engine import BACKEND, GlooCheckpointEngine

Weights = list[tuple[str, Tensor]]


def synced(weights: Weights, trainers: int, rollouts: int) -> list[Weights]:
    """What each rollout process receives: verl's calls, in verl's order, each process a thread."""
    engines = [GlooCheckpointEngine(bucket_size=1, is_master=rank == 0) for rank in range(trainers + rollouts)]
    metadata = [engine.prepare() for engine in engines]
    of_trainers, of_rollouts = GlooCheckpointEngine.build_topology(trainers, rollouts, metadata)
    walked: list[int] = []

    def tensors(trainer: int) -> Any:
        for name, weight in weights:
            walked.append(trainer)
            yield name, weight

    async def received(engine: GlooCheckpointEngine) -> Weights:
        return [pair async for pair in engine.receive_weights(global_steps=1)]

    def process(number: int) -> Weights:
        engine = engines[number]
        own, place = (of_trainers, number) if number < trainers else (of_rollouts, number - trainers)
        engine.init_process_group(**{key: values[place] for key, values in own.items()})
        if number < trainers:
            asyncio.run(engine.send_weights(tensors(number), global_steps=1))
            return []
        return asyncio.run(received(engine))

    with ThreadPoolExecutor(len(engines)) as pool:
        results = list(pool.map(process, range(len(engines)), timeout=60))
    for engine in engines:
        engine.finalize()
        assert engine.group is engine.store is None
    # Each of the trainer's ranks walks all tensors: gathering one needs all ranks.
    assert sorted(walked) == sorted(list(range(trainers)) * len(weights))
    return results[trainers:]


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.float8_e4m3fn]
SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(SHAPES, st.sampled_from(DTYPES)), max_size=4), st.integers(1, 2), st.integers(1, 3),
    st.integers(0, 2**31),
)  # fmt: skip
def test_every_rollout_process_receives_the_bits_that_were_sent(
    kinds: list[tuple[tuple[int, ...], torch.dtype]], trainers: int, rollouts: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sent = [
        (f"layer.{index}.weight", torch.randint(-8, 8, shape, generator=generator).to(dtype))
        for index, (shape, dtype) in enumerate(kinds)
    ]
    for received in synced(sent, trainers, rollouts):
        assert [name for name, _ in received] == [name for name, _ in sent]
        for (_, ours), (_, theirs) in zip(received, sent, strict=True):
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            assert torch.equal(ours.float(), theirs.float())


def test_a_transposed_view_arrives_as_it_reads() -> None:
    weight = torch.arange(6.0).view(2, 3).T
    ((received,),) = synced([("w", weight)], trainers=1, rollouts=1)
    assert torch.equal(received[1], weight)


def test_verl_finds_the_engine_and_calls_it_as_it_is_written() -> None:
    """The seam: verl's registry, its constructor's arguments, and the arguments of each method that verl calls."""
    assert CheckpointEngineRegistry.get(BACKEND) is GlooCheckpointEngine
    assert isinstance(CheckpointEngineRegistry.new(BACKEND, is_master=True, bucket_size=1), CheckpointEngine)
    for name in ("prepare", "build_topology", "finalize", "send_weights", "receive_weights"):
        base, own = (list(inspect.signature(getattr(kind, name)).parameters) for kind in
                     (CheckpointEngine, GlooCheckpointEngine))  # fmt: skip
        assert own == base, name


@pytest.mark.parametrize("trainers", [1, 3])
def test_the_topology_has_one_sender_and_an_entry_for_each_process(trainers: int) -> None:
    address = ("host", 1)
    actor, rollout = GlooCheckpointEngine.build_topology(trainers, 2, [address, *[None] * (trainers + 1)])
    assert actor["rank"] == [0] + [-1] * (trainers - 1)
    assert rollout["rank"] == [1, 2]
    for part, count in ((actor, trainers), (rollout, 2)):
        assert part["size"] == [3] * count
        assert part["address"] == [address] * count
