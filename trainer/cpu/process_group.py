"""verl asks torch for the backend ``cpu:gloo,<device>:<backend>``; on a CPU that names "cpu" twice.

torch refuses ``cpu:gloo,cpu:gloo``, so a backend list is deduplicated before torch sees it.
"""

from collections.abc import Callable
from typing import Any

import torch.distributed

from tr_grpo.trainer.seam import replace


def without_duplicates(backend: Any) -> Any:
    """``"cpu:gloo,cpu:gloo"`` -> ``"cpu:gloo"``; anything else unchanged, order kept."""
    return ",".join(dict.fromkeys(backend.split(","))) if isinstance(backend, str) else backend


def install() -> None:
    """Wrap ``torch.distributed.init_process_group`` in this process (once)."""

    def deduplicating(original: Callable) -> Callable:
        def init_process_group(backend: Any = None, *args: Any, **kwargs: Any) -> Any:
            return original(without_duplicates(backend), *args, **kwargs)

        return init_process_group

    replace(torch.distributed, "init_process_group", deduplicating)
