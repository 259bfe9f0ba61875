"""Keeps the unpacked weights of vLLM's CPU linear layers, so that they can be synchronised.

vLLM 0.24.0 packs them for oneDNN and drops the original (``dispatch_cpu_unquantized_gemm(layer,
remove_weight=True)``); the next weight sync then fails with a shape error. verl re-runs vLLM's packing
after every sync, so the packed copy follows. Costs one copy of the linear weights.

A ``vllm.general_plugins`` entry point: vLLM calls :func:`register` in each of its processes.
"""

from collections.abc import Callable
from typing import Any

from tr_grpo.trainer.seam import is_replaced, replace


def register() -> None:
    """Wrap vLLM's dispatcher (once). Does nothing where vLLM does not run on a CPU."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    import vllm.model_executor.layers.utils as layers

    def keeping_weight(original: Callable) -> Callable:
        def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:
            original(layer, remove_weight=False)

        return dispatch_cpu_unquantized_gemm

    replace(layers, "dispatch_cpu_unquantized_gemm", keeping_weight)


def require_registered() -> None:
    """Raise if vLLM in this process still drops its weights.

    Raises:
        RuntimeError: the entry point was not run (VLLM_PLUGINS excludes it, or it failed and vLLM only
            logged it).
    """
    import vllm.model_executor.layers.utils as layers

    if not is_replaced(layers, "dispatch_cpu_unquantized_gemm"):
        raise RuntimeError(
            "vLLM did not load the plugin 'tr_grpo_cpu', so its CPU weights cannot be synchronised: "
            "unset VLLM_PLUGINS or add tr_grpo_cpu to it, and reinstall with scripts/setup.sh cpu"
        )
