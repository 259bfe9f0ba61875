"""TR516, TR517: the run folder's clock, and room for its checkpoints."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.schedule import Schedule
from tr_grpo.trainer.preflight.weights import parameters

GIB = 1024**3
BYTES = {"model": 4, "optimizer": 8, "hf_model": 2}
"""A parameter in a checkpoint of FSDP: float32 weights, AdamW's two moments, a bfloat16 copy for the hub."""
PATIENCE_S = 300.0
"""A shared disk's server may be a few seconds ahead."""


def check(config: DictConfig) -> Iterator[Finding]:
    """Nothing about checkpoints where the model's size is not known from its files."""
    folder = Path(config.trainer.default_local_dir)
    if folder.is_dir():
        yield from _clock(folder)
    if config.trainer.save_freq > 0:
        yield from _checkpoints(config, folder)


def _clock(folder: Path) -> Iterator[Finding]:
    ahead = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0) - time.time()
    if ahead > PATIENCE_S:
        yield warning(
            "TR516", f"{folder} has a file that is {ahead / 60:.0f} minutes ahead of this machine's clock",
            "set the clock (chrony, ntpd): times, and what a resumed run shows, are wrong otherwise",
        )  # fmt: skip


def _checkpoints(config: DictConfig, folder: Path) -> Iterator[Finding]:
    count = parameters(config.actor_rollout_ref.model.path)
    if count is None:
        return
    contents = config.actor_rollout_ref.actor.checkpoint.save_contents
    one = count * sum(BYTES.get(part, 0) for part in contents)
    saves = -(-Schedule.from_config(config).steps // config.trainer.save_freq)
    kept = config.trainer.max_actor_ckpt_to_keep
    number = min(saves, kept) if kept else saves
    # Those that are there already will be counted among the kept ones.
    there = len(list(folder.glob("global_step_*")))
    free = shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
    fix = "free some space, set paths.outputs, or trainer.max_actor_ckpt_to_keep=1"
    if one > free:
        yield error("TR517", f"a checkpoint takes {one / GIB:.1f} GiB, and {folder} has {free / GIB:.1f} GiB free", fix)
    elif one * max(number - there, 1) > free:
        yield warning(
            "TR517",
            f"{number} checkpoints of {one / GIB:.1f} GiB do not fit into the {free / GIB:.1f} GiB that are free "
            f"at {folder}",
            fix,
        )  # fmt: skip
