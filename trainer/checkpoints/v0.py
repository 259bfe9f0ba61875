"""Sealing for verl's trainer before V1 (``trainer.use_v1=false``), which has no callback."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import wrapt

from tr_grpo.trainer import stop
from tr_grpo.trainer.seam import replace

TRAINER_MODULE = "verl.trainer.ppo.ray_trainer"


def install(module: ModuleType) -> None:
    """Wrap ``RayPPOTrainer``'s ``fit`` and ``_save_checkpoint`` of the imported module (once)."""

    def watching(original: Callable) -> Callable:
        def fit(self: Any) -> Any:
            if "checkpoints" in self.config:
                stop.watch(Path(self.config.trainer.default_local_dir), self.config)
            return original(self)

        return fit

    def sealing(original: Callable) -> Callable:
        def _save_checkpoint(self: Any) -> None:
            original(self)
            # Plain verl may run with this plug-in too; its tracker is its own affair.
            if "checkpoints" not in self.config:
                return
            from tr_grpo.trainer.checkpoints.callback import finish

            run_folder = Path(self.config.trainer.default_local_dir)
            finish(run_folder, self.global_steps, self.config.checkpoints.keep)
            if stop.requested(run_folder):
                # This trainer looks at its last step before a step, so one more follows, and another checkpoint.
                stop.end_after(self, self.global_steps)

        return _save_checkpoint

    replace(module.RayPPOTrainer, "fit", watching)
    replace(module.RayPPOTrainer, "_save_checkpoint", sealing)


def install_on_import() -> None:
    """Install once verl's trainer is imported, in the one process that has it."""
    wrapt.register_post_import_hook(install, TRAINER_MODULE)
