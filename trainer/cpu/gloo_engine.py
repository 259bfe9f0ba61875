"""Weights from the trainer's process to separate rollout processes over gloo: verl's checkpoint engines need a GPU.

verl 0.9.1 syncs a separate rollout (``separate_async``) through a checkpoint engine, and its own need CUDA or an NPU.
This one registers under ``gloo`` in verl's public registry, and is loaded by
``actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module``. Rank 0 of the trainer broadcasts one tensor after
another to all rollout processes. One group a sync, so that a rollout process that was replaced leaves nothing behind.
"""

import asyncio
import pickle
from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from typing import Any

import ray
import torch
import torch.distributed as dist
from torch import Tensor
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

BACKEND = "gloo"
PATIENCE = timedelta(seconds=120)
"""For a process that has died: a sync of a model that a CPU can train takes seconds."""
Description = tuple[str, tuple[int, ...], torch.dtype] | None
"""Name, shape and dtype of the next tensor; None after the last."""


@CheckpointEngineRegistry.register(BACKEND)
class GlooCheckpointEngine(CheckpointEngine):
    """Broadcasts from the trainer's rank 0; its other ranks only take part in gathering their shards.

    Args:
        bucket_size: verl's; tensors go one by one, so it is not used.
        is_master: true on the trainer's rank 0.
    """

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self.is_master = is_master
        self.store: dist.TCPStore | None = None
        self.group: dist.ProcessGroupGloo | None = None

    def prepare(self) -> tuple[str, int] | None:
        """Open the meeting point of this sync; its address, on the master alone."""
        if not self.is_master:
            return None
        host = ray.util.get_node_ip_address().strip("[]")
        self.store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
        return host, self.store.port

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[tuple[str, int] | None]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Rank 0 sends, rollout processes are ranks 1 and on, the trainer's other ranks (-1) stay out."""
        size = 1 + rollout_world_size
        actor: dict[str, list[Any]] = {"rank": [0] + [-1] * (actor_wg_world_size - 1)}
        rollout: dict[str, list[Any]] = {"rank": list(range(1, size))}
        for ranks in (actor, rollout):
            ranks |= {"size": [size] * len(ranks["rank"]), "address": [metadata[0]] * len(ranks["rank"])}
        return actor, rollout

    def init_process_group(self, rank: int, size: int, address: tuple[str, int]) -> None:
        """Join this sync's group; returns once all have."""
        if rank < 0:
            return
        if self.store is None:
            self.store = dist.TCPStore(*address, is_master=False, timeout=PATIENCE)
        self.group = dist.ProcessGroupGloo(self.store, rank, size, PATIENCE)

    def finalize(self) -> None:
        """Leave the group."""
        self.group = self.store = None

    @torch.no_grad()
    async def send_weights(self, weights: Iterator[tuple[str, Tensor]], global_steps: int | None = None) -> None:
        """Send each tensor; ranks without a group walk the iterator, whose gathers need all of them."""
        for name, weight in weights:
            if self.group is not None:
                await self._tell((name, tuple(weight.shape), weight.dtype))
                await self._broadcast(_bytes(weight.detach().contiguous()))
        if self.group is not None:
            await self._tell(None)

    @torch.no_grad()
    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[tuple[str, Tensor], None]:
        """Each tensor as it comes, in memory of its own."""
        while (description := await self._hear()) is not None:
            name, shape, dtype = description
            weight = torch.empty(shape, dtype=dtype)
            await self._broadcast(_bytes(weight))
            yield name, weight

    async def _tell(self, description: Description) -> None:
        data = torch.frombuffer(bytearray(pickle.dumps(description)), dtype=torch.uint8)
        await self._broadcast(torch.tensor([len(data)]))
        await self._broadcast(data)

    async def _hear(self) -> Description:
        length = torch.empty(1, dtype=torch.long)
        await self._broadcast(length)
        data = torch.empty(int(length), dtype=torch.uint8)
        await self._broadcast(data)
        # From the trainer's own process, over a group that only this run's processes can find.
        return pickle.loads(data.numpy().tobytes())

    async def _broadcast(self, tensor: Tensor) -> None:
        """From rank 0. In a thread: the process answers its other callers meanwhile."""
        assert self.group is not None
        work = self.group.broadcast([tensor], dist.BroadcastOptions())
        await asyncio.to_thread(work.wait)


def _bytes(tensor: Tensor) -> Tensor:
    """A view: gloo does not know every dtype (FP8), and a copy needs none."""
    return tensor.view(-1).view(torch.uint8)
