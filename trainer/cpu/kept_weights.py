"""Weights that verl sets aside are copies: on a CPU ``tensor.cpu()`` is the tensor itself, which an update changes.

``separate_async`` keeps the policy of a step's beginning, so that each of its mini-batches is compared with the same.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from tr_grpo.trainer.seam import replace

FSDP_MODULE = "verl.utils.fsdp_utils"


def install(module: ModuleType) -> None:
    """Wrap ``fsdp2_sharded_save_to_cpu`` of verl's imported module (once)."""

    def copying(original: Callable) -> Callable:
        def fsdp2_sharded_save_to_cpu(model: Any) -> tuple[dict[str, tuple[Any, Any]], Any]:
            shards, spec = original(model)
            return {name: (shard.clone(), own) for name, (shard, own) in shards.items()}, spec

        return fsdp2_sharded_save_to_cpu

    replace(module, "fsdp2_sharded_save_to_cpu", copying)


def install_on_import() -> None:
    """Install once verl's FSDP functions are imported."""
    wrapt.register_post_import_hook(install, FSDP_MODULE)
