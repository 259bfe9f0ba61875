"""Ulysses' all-to-all over gloo, which has it for one tensor and not for a list of them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
import wrapt
from torch import Tensor

from tr_grpo.trainer.seam import replace

ULYSSES_MODULE = "verl.utils.ulysses"


def install(module: ModuleType) -> None:
    """Replace ``all_to_all_tensor`` of verl's imported Ulysses module (once)."""

    def in_one_tensor(original: Callable) -> Callable:
        def all_to_all_tensor(
            local_input: Tensor, scatter_dim: int, gather_dim: int, group: Any = None, async_op: bool = False
        ) -> Tensor | Callable[[], Tensor]:
            group = module.get_ulysses_sequence_parallel_group() if group is None else group
            # Equal parts: verl pads the pack, and the preflight asks that the heads divide (TR610).
            sent = torch.stack(local_input.tensor_split(dist.get_world_size(group), scatter_dim))
            received = torch.empty_like(sent)
            dist.all_to_all_single(received, sent, group=group)
            gathered = torch.cat(received.unbind(), dim=gather_dim)
            return (lambda: gathered) if async_op else gathered

        return all_to_all_tensor

    replace(module, "all_to_all_tensor", in_one_tensor)


def install_on_import() -> None:
    """Install once verl's Ulysses is imported."""
    wrapt.register_post_import_hook(install, ULYSSES_MODULE)
