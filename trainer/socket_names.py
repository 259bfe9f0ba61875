"""Names the sockets of verl's weight sync after the run.

verl names them after Ray's job, replica and rank; each new Ray counts its jobs from one, so two runs on a machine, each
with a Ray of its own, bind the same file in /tmp, and one run's vLLM can be handed the other's weights.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from tr_grpo.trainer import run_name
from tr_grpo.trainer.seam import replace

TRANSFER_MODULE = "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"
VERLS = "/rl-colocate-zmq-"


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

    for owner in (module.BucketedWeightSender, module.BucketedWeightReceiver):
        replace(owner, "__init__", renaming)


def install_on_import() -> None:
    """Install once the transfer module is imported: importing it here would load vLLM everywhere."""
    wrapt.register_post_import_hook(install, TRANSFER_MODULE)
