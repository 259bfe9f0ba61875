"""Weights reach vLLM through shared memory; on a CPU ``tensor.to("cpu")`` does not copy out of it.

The views would keep the segment alive past its ``close()`` and change under the model once the sender
reuses the buffer, so each tensor is cloned before it is handed on. The receiver runs in the vLLM worker,
the process in which vLLM's weight packing must have been tamed too: that is checked here, because vLLM
only logs a plugin that fails.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from tr_grpo.trainer.cpu import vllm_weights
from tr_grpo.trainer.seam import replace

TRANSFER_MODULE = "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"


def install(module: ModuleType) -> None:
    """Wrap ``BucketedWeightReceiver.receive_weights`` of the imported transfer module (once)."""

    def cloning(original: Callable) -> Callable:
        def receive_weights(self: Any, on_bucket_received: Callable[[list, bool], None]) -> None:
            vllm_weights.require_registered()

            def on_cloned(weights: list, is_last: bool) -> None:
                on_bucket_received([(name, tensor.clone()) for name, tensor in weights], is_last)

            original(self, on_cloned)

        return receive_weights

    replace(module.BucketedWeightReceiver, "receive_weights", cloning)


def install_on_import() -> None:
    """Install once the transfer module is imported: importing it here would load vLLM everywhere."""
    wrapt.register_post_import_hook(install, TRANSFER_MODULE)
