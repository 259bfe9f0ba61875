"""verl's weight sync: its sockets carry the run's name, and it does not wait without end for a vLLM that died.

verl names the sockets after Ray's job, replica and rank; each new Ray counts its jobs from one, so two runs on a
machine, each with a Ray of its own, bind the same file in /tmp, and one run's vLLM can be handed the other's weights.
The trainer's side waits for vLLM's answer to each bucket; an engine that dies at that moment never answers.
"""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from tr_grpo.trainer import run_name
from tr_grpo.trainer.seam import replace

TRANSFER_MODULE = "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"
VERLS = "/rl-colocate-zmq-"
LIMIT = "TR_GRPO_WEIGHT_SYNC_S"
"""Environment variable: seconds that vLLM may take for one bucket of weights."""


def of_run(handle: str, run: str) -> str:
    """verl's socket ``handle`` with the run's name in it.

    Raises:
        ValueError: verl's name has another form than the pinned version's.
    """
    if VERLS not in handle:
        raise ValueError(f"{handle}: verl names the sockets of its weight sync differently; revise {__name__}")
    return handle.replace(VERLS, f"{VERLS}{run}-")


def install(module: ModuleType) -> None:
    """Wrap sender and receiver of the imported transfer module (once); outside a run nothing changes."""

    def renaming(original: Callable) -> Callable:
        def __init__(self: Any, zmq_handle: str, *args: Any, **kwargs: Any) -> None:
            run = run_name.of_this_process()
            original(self, of_run(zmq_handle, run) if run else zmq_handle, *args, **kwargs)

        return __init__

    def limited(original: Callable) -> Callable:
        import zmq

        async def async_send_weights(self: Any, weights: Any) -> None:
            limit = float(os.environ.get(LIMIT, 0))
            if not limit:
                return await original(self, weights)
            # What a context is told, each new socket of it gets.
            self.zmq_context = zmq.Context()
            for option in (zmq.SNDTIMEO, zmq.RCVTIMEO):
                self.zmq_context.setsockopt(option, int(limit * 1000))
            try:
                return await original(self, weights)
            except zmq.Again as error:
                raise RuntimeError(
                    f"vLLM did not take a bucket of weights within {limit:g} s ({LIMIT}): its engine died or hangs; "
                    "the first error in the log above is the cause"
                ) from error
            finally:
                self.zmq_context.destroy(linger=0)

        return async_send_weights

    for owner in (module.BucketedWeightSender, module.BucketedWeightReceiver):
        replace(owner, "__init__", renaming)
    replace(module.BucketedWeightSender, "async_send_weights", limited)


def install_on_import() -> None:
    """Install once the transfer module is imported: importing it here would load vLLM everywhere."""
    wrapt.register_post_import_hook(install, TRANSFER_MODULE)
