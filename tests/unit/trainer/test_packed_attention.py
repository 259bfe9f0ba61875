"""On a CPU: attention over a pack is each sequence's own, verl's seams are there, and weights set aside are copies."""

import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tr_grpo.trainer.cpu import kept_weights, packed_attention
from tr_grpo.trainer.cpu.packed_attention import attention


def eager(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None) -> torch.Tensor:
    """softmax(scale q k^T + causal) v of one sequence, (tokens, heads, size), written out."""
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    later = torch.ones(len(q), len(q)).triu(1).bool()
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(later, float("-inf")).softmax(-1), v)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    st.sampled_from([None, 0.3]), st.integers(0, 2**31),
)  # fmt: skip
def test_each_sequence_of_a_pack_attends_to_itself_alone(
    lengths: list[int], heads: tuple[int, int], scale: float | None, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    q, k, v = (torch.randn(1, tokens, count, 8, generator=generator) for count in (heads[0], heads[1], heads[1]))
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    ours = attention(q, k, v, None, tokens, position_ids=positions, softmax_scale=scale)[0]
    parts = zip(*(x[0].split(lengths) for x in (q, k, v)), strict=True)
    torch.testing.assert_close(ours, torch.cat([eager(*part, scale) for part in parts]), rtol=1e-4, atol=1e-5)


def test_a_padded_batch_or_another_mask_is_refused() -> None:
    q = torch.zeros(1, 3, 2, 4)
    positions = torch.arange(3)[None]
    with pytest.raises(ValueError, match="packed batches"):
        attention(q, q, q, torch.ones(1, 3), 3, position_ids=positions)
    with pytest.raises(ValueError, match="packed batches"):
        attention(q, q, q, None, 3)
    with pytest.raises(ValueError, match="packed batches"):
        attention(q.expand(2, -1, -1, -1), q, q, None, 3, position_ids=positions)
    with pytest.raises(ValueError, match="sliding window"):
        attention(q, q, q, None, 3, position_ids=positions, sliding_window=2)


def test_it_stands_where_verls_ulysses_calls_flash_attention() -> None:
    """The seam: the name that verl's patch calls, and the names that a model's config can ask for."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from verl.models.transformers import monkey_patch

    assert "_flash_attention_forward" in monkey_patch._ulysses_flash_attention_forward.__code__.co_names
    stand_in = types.ModuleType("stand_in")
    packed_attention.install(stand_in)
    assert stand_in._flash_attention_forward is attention
    assert packed_attention.NAME in AttentionInterface().valid_keys()
    assert packed_attention.NAME in AttentionMaskInterface().valid_keys()


@pytest.fixture
def sharded(tmp_path: Path) -> Iterator[torch.nn.Module]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    module = torch.nn.Linear(3, 2)
    fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
    yield module
    dist.destroy_process_group()


def test_weights_that_verl_sets_aside_survive_the_next_update(sharded: torch.nn.Module) -> None:
    """verl's own function hands out the weights themselves on a CPU; the day it copies, the seam can go."""
    from verl.utils import fsdp_utils

    stand_in = types.ModuleType("stand_in")
    verls = getattr(fsdp_utils.fsdp2_sharded_save_to_cpu, "__wrapped__", fsdp_utils.fsdp2_sharded_save_to_cpu)
    stand_in.fsdp2_sharded_save_to_cpu = verls
    kept_weights.install(stand_in)
    (theirs, _), (ours, spec) = verls(sharded), stand_in.fsdp2_sharded_save_to_cpu(sharded)
    before = {name: shard.clone() for name, (shard, _) in ours.items()}
    with torch.no_grad():
        for parameter in sharded.parameters():
            parameter.add_(1.0)
    for name, (shard, own) in ours.items():
        assert torch.equal(shard, before[name])
        assert own == theirs[name][1]
        assert not torch.equal(theirs[name][0], before[name])
    fsdp_utils.fsdp2_sharded_load_from_cpu(sharded, ours, spec)
    for name, parameter in sharded.named_parameters():
        assert torch.equal(parameter.to_local(), before[name])
