"""Deterministic rollouts that still differ from each other: a seed for each response.

With ``rollout.full_determinism`` verl gives each request the same seed, so the responses of a group are all equal,
their advantages 0, and nothing is learned. Here the seed follows from the run's, the step, the prompt and the number of
the response, so a resumed run draws what the uninterrupted one would have drawn.
"""

import hashlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from tr_grpo.trainer.seam import replace

AGENT_LOOP_MODULE = "verl.experimental.agent_loop.agent_loop"


def request_seed(seed: int, step: int, prompt: int, number: int, validate: bool) -> int:
    """31 bits for the ``number``-th response to ``prompt`` (the row's ``extra_info.index``) in ``step``."""
    text = f"{seed}/{'val' if validate else 'train'}/{step}/{prompt}/{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def install(module: ModuleType) -> None:
    """Wrap ``AgentLoopWorker._run_agent_loop`` of the imported module (once); V0 and V1 both go through it."""

    def seeding(original: Callable) -> Callable:
        async def _run_agent_loop(
            self: Any, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs: Any
        ) -> Any:
            if self.rollout_config.full_determinism:
                # V1 numbers a prompt's responses in session_id, V0 in rollout_n.
                number = kwargs.get("session_id", trajectory["rollout_n"])
                of = int(trajectory["step"]), int(trajectory["sample_index"]), int(number), bool(trajectory["validate"])
                # The dict is shared by the prompt's responses.
                sampling_params = {**sampling_params, "seed": request_seed(int(self.rollout_config.seed), *of)}
            return await original(self, sampling_params, trajectory, **kwargs)

        return _run_agent_loop

    replace(module.AgentLoopWorker, "_run_agent_loop", seeding)


def install_on_import() -> None:
    """Install once verl's agent loops are imported."""
    wrapt.register_post_import_hook(install, AGENT_LOOP_MODULE)
