"""TR434, TR435: how many steps the run makes, and whether anything of it is kept."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq
from omegaconf import DictConfig

from tr_grpo.trainer.preflight.data import files
from tr_grpo.trainer.preflight.finding import Finding, warning


@dataclass(frozen=True)
class Schedule:
    """verl's trainer ends at ``trainer.total_epochs`` or at ``trainer.total_training_steps``, whichever comes first.

    ``steps_per_epoch`` counts whole batches, a little too many where verl leaves out prompts that are too long.
    """

    steps_per_epoch: int
    epochs: int
    asked: int | None

    @classmethod
    def from_config(cls, config: DictConfig) -> "Schedule":
        """Count the training files' rows, which TR201 has found readable."""
        rows = sum(pq.read_metadata(path).num_rows for path in files(config, "train_files"))
        if config.data.train_max_samples > 0:
            rows = min(rows, config.data.train_max_samples)
        return cls(
            rows // config.data.train_batch_size, config.trainer.total_epochs, config.trainer.total_training_steps
        )

    @property
    def steps(self) -> int:
        """Steps until the run ends by itself."""
        by_epochs = self.steps_per_epoch * self.epochs
        return by_epochs if self.asked is None else min(self.asked, by_epochs)


def check(config: DictConfig) -> Iterator[Finding]:
    """The last step, at which verl saves and validates, is reached; and something is saved at all."""
    schedule = Schedule.from_config(config)
    if schedule.asked is not None and schedule.steps < schedule.asked:
        yield warning(
            "TR434", f"trainer.total_epochs={schedule.epochs} end after {schedule.steps} steps, before "
            f"trainer.total_training_steps={schedule.asked}: verl then neither saves nor validates at the end",
            f"raise trainer.total_epochs, or set trainer.total_training_steps={schedule.steps}",
        )  # fmt: skip
    if config.trainer.save_freq <= 0:
        yield warning(
            "TR435",
            f"trainer.save_freq={config.trainer.save_freq}: no checkpoint is ever written, so the trained model "
            "is lost, and a run that stops cannot be resumed",
            "set trainer.save_freq to a number of steps; the last step is always saved then",
        )  # fmt: skip
