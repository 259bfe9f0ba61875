"""Attention over packed sequences on a CPU: what verl's padding-free path and Ulysses ask of flash attention.

verl packs a micro-batch into one row, calls ``_flash_attention_forward`` of transformers, and for sequence parallelism
wraps all-to-alls around it. The function is CUDA's alone, so on a CPU torch's own attention stands in for it, one
sequence of the pack after another. ``override_config.attn_implementation=packed_sdpa`` chooses it.
"""

from types import ModuleType
from typing import Any

import torch
import wrapt
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "packed_sdpa"
PATCH_MODULE = "verl.models.transformers.monkey_patch"


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    query_length: int,
    *args: Any,
    position_ids: Tensor | None = None,
    softmax_scale: float | None = None,
    **options: Any,
) -> Tensor:
    """Causal attention within each sequence of a pack, with transformers' arguments.

    Args:
        query: (1, tokens, heads, size).
        key: (1, tokens, key heads, size); the query's heads share them in groups.
        value: as ``key``.
        attention_mask: None: a pack has no padding.
        query_length: of transformers; the same as ``tokens``.
        position_ids: (1, tokens); a sequence begins where it is 0.
        softmax_scale: None for 1 / sqrt(size).

    Returns:
        (1, tokens, heads, size).

    Raises:
        ValueError: a padded batch, or a model whose attention is not plainly causal.
    """
    if attention_mask is not None or position_ids is None or query.shape[0] != 1:
        raise ValueError(
            f"attn_implementation={NAME} is for packed batches: set model.use_remove_padding=true, or sdpa"
        )
    if any(options.get(name) is not None for name in ("sliding_window", "softcap", "s_aux")):
        raise ValueError(f"attn_implementation={NAME} has no sliding window, soft cap or sink: set sdpa")
    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    lengths = torch.tensor([*starts, query.shape[1]]).diff().tolist()
    parts = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=softmax_scale, enable_gqa=True)
        for q, k, v in zip(*(x.transpose(1, 2).split(lengths, dim=2) for x in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2)


def install(module: ModuleType) -> None:
    """Register the implementation with transformers, and put it where verl's Ulysses calls flash attention."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.flash_attention import flash_attention_forward
    from transformers.masking_utils import flash_attention_mask

    AttentionInterface.register(NAME, flash_attention_forward)
    AttentionMaskInterface.register(NAME, flash_attention_mask)
    module._flash_attention_forward = attention  # type: ignore[attr-defined]


def install_on_import() -> None:
    """Install once verl's patches of transformers are imported, before any model is built."""
    wrapt.register_post_import_hook(install, PATCH_MODULE)
