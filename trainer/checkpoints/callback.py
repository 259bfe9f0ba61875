"""What happens after verl has written a checkpoint: it is sealed, named by the tracker, and old ones are removed.

verl's V1 trainer calls ``trainer.checkpoint_callback_class`` then. Its own tracker, written before that and not in one
piece, is switched off by ``actor.checkpoint.async_save``, which FSDP's saving does not read (it is Megatron's).
"""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback

from tr_grpo.trainer import stop
from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.checkpoints.seal import missing_ranks, seal


def finish(run_folder: Path, step: int, keep: int | None) -> None:
    """Seal ``global_step_<step>``, let the tracker name it, remove what is older than the ``keep`` newest."""
    checkpoint = run_folder / f"{tracker.PREFIX}{step}"
    absent = missing_ranks(checkpoint)
    if absent:
        print(
            f"warning: {checkpoint} lacks the shards of ranks {absent}: they are on other nodes, and neither sealed "
            "nor checked; put trainer.default_local_dir on a file system that all nodes share",
            file=sys.stderr,
        )
    seal(checkpoint)
    tracker.write(run_folder, step)
    tracker.keep_newest(run_folder, keep)


class SealingCallback(CheckpointCallback):
    """verl builds it in the trainer's process, with the trainer's config."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.run_folder = Path(config.trainer.default_local_dir)
        stop.watch(self.run_folder, config)

    def on_save(
        self, trainer: Any, global_step: int, checkpoint_dir: str, async_save: bool = False, **kwargs: Any
    ) -> None:
        """Called by verl once all ranks and the data loader's state are written.

        Raises:
            OSError: the seal or the tracker cannot be written; the tracker still names the checkpoint before.
        """
        finish(self.run_folder, global_step, self.config.checkpoints.keep)
        if stop.requested(self.run_folder):
            stop.end_after(trainer, global_step)
