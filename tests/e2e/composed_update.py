"""One real update under each composition, on each rank of a gloo group: run by ``test_compositions.py``.

    python composed_update.py MODEL OUT CASE... with RANK, WORLD_SIZE and STORE in the environment

The batch, the policy and the seed are those of ``engine_update.py``; the preset and how the batch is cut differ.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from engine_update import aggregated, batch, engine_and_loss

PROBED = ["algo=tr_grpo", "policy_loss.record_samples=0", "policy_loss.sharpness_every=1"]
PACKED = "actor_rollout_ref.model.override_config.attn_implementation=packed_sdpa"


@dataclass(frozen=True)
class Case:
    """A composition: the presets, further overrides, how verl is told to cut the batch, and sequence-parallel ranks."""

    presets: str
    overrides: tuple[str, ...] = ()
    cut: dict[str, Any] = field(default_factory=dict)
    sequence_ranks: int = 1


CASES = {
    "plain": Case(""),
    "one_by_one": Case("static_batches", cut={"micro_batch_size_per_gpu": 1}),
    "dynamic": Case("", cut={"use_dynamic_bsz": True, "max_token_len_per_gpu": 40}),
    "activation_checkpointing": Case("activation_checkpointing"),
    "offload": Case("offload"),
    "packed": Case("", (PACKED, "actor_rollout_ref.model.use_remove_padding=true"), {"use_remove_padding": True}),
    "lora": Case("lora"),
    "lora_with_others": Case("lora,activation_checkpointing,offload", cut={"micro_batch_size_per_gpu": 1}),
    "hsdp": Case("hsdp", ("actor.fsdp_config.fsdp_size=1",)),
    "hsdp_2_x_2": Case("hsdp", ("actor.fsdp_config.fsdp_size=2",)),
    "sequence_parallel": Case("sequence_parallel", (PACKED,), {"use_remove_padding": True}, sequence_ranks=2),
}


def update(model: str, case: Case) -> dict[str, Any]:
    """The metrics as verl's driver sees them, and the weights after the update."""
    from verl.utils import tensordict_utils as tu

    rank, width = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.manual_seed(0)  # LoRA's A
    engine, loss = engine_and_loss(model, [*PROBED, f"with=[{case.presets}]", *case.overrides])
    data = batch(model, rank // case.sequence_ranks, width // case.sequence_ranks)
    tu.assign_non_tensor(data, **case.cut)
    with engine.train_mode():
        outputs = engine.train_batch(data, loss)
    weights = {name: p.full_tensor() for name, p in engine.module.state_dict().items() if hasattr(p, "full_tensor")}
    # Of the ranks that share sequences, verl asks the first alone.
    found = engine.is_mp_src_rank_with_outputs()
    return {
        "engine": type(engine).__name__,
        "metrics": aggregated(outputs["metrics"], engine.get_data_parallel_group()) if found else {},
        "weights": {name: weight.clone() for name, weight in weights.items()},
    }


def main(model: str, out: str, cases: list[str]) -> None:
    """All cases in one process group."""
    torch.set_num_threads(1)
    import verl  # noqa: F401  (the platform first)

    os.environ["VERL_ENGINE_VENDOR"] = "tr_grpo"
    rank, width = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{os.environ['STORE']}", rank=rank, world_size=width
    )
    results = {case: update(model, CASES[case]) for case in cases}
    if rank == 0:
        torch.save(results, Path(out))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
