"""TR409, TR410, TR430 to TR433, TR443 to TR446, TR453: how checkpoints are kept, and what resuming would do.

verl#5725, #7401, #7974: nothing, with exit status 0.
"""

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.checkpoints.seal import SEAL, fault
from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.ledger import BatchLedger
from tr_grpo.trainer.preflight.schedule import Schedule

MODES = ("disable", "auto", "resume_path")
SEALING = "tr_grpo.trainer.checkpoints.callback.SealingCallback"
FRESH = "trainer.experiment_name or trainer.default_local_dir for a new run"

ABSENT = object()
"""The value of a key that another version of the recipe did not have."""
ORDER_OR_METHOD = (
    "group.algo",
    "data.train_files",
    "data.seed",
    "data.shuffle",
    "data.train_batch_size",
    "data.train_max_samples",
    "data.max_prompt_length",
    "data.max_response_length",
    "actor_rollout_ref.model.path",
    "actor_rollout_ref.model.lora_alpha",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.rollout.temperature",
    "actor_rollout_ref.rollout.quantization",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "actor_rollout_ref.actor.clip_ratio_low",
    "actor_rollout_ref.actor.clip_ratio_high",
    "actor_rollout_ref.actor.use_kl_loss",
    "actor_rollout_ref.actor.optim.lr",
    "trainer.v1.trainer_mode",
    "reward.reward_kwargs.scorer",
    "reward.reward_kwargs.rule",
)
"""Keys whose change makes the second half of a run another experiment, or its data another order."""
ADAPTERS = ("actor_rollout_ref.model.lora_rank", "actor_rollout_ref.model.target_modules")
"""Keys whose change makes the checkpoint's tensors others, where there are adapters before or after."""


def check(config: DictConfig) -> Iterator[Finding]:
    """How checkpoints are kept, and what would be resumed."""
    yield from _keeping(config)
    mode = config.trainer.resume_mode
    if mode not in MODES:
        yield error("TR430", f"trainer.resume_mode={mode} is unknown", f"choose one of {', '.join(MODES)}")
        return
    if mode == "disable":
        return
    if mode == "resume_path":
        checkpoint = Path(str(config.trainer.resume_from_path))
        if not checkpoint.is_dir() or not checkpoint.name.removeprefix("global_step_").isdecimal():
            yield error(
                "TR430", f"trainer.resume_from_path={checkpoint} is no folder global_step_N",
                "name the folder of a checkpoint, e.g. outputs/run/global_step_20",
            )  # fmt: skip
            return
        if (checkpoint / SEAL).is_file() and (problem := fault(checkpoint)) is not None:
            yield error("TR443", f"{checkpoint}: {problem}", "restore it, or name another checkpoint")
            return
    else:
        folder = Path(config.trainer.default_local_dir)
        try:
            found = tracker.resume(folder)
        except ValueError:
            yield error(
                "TR409",
                f"{folder / tracker.TRACKER} does not hold a step number",
                "remove it, or restore the checkpoint folder",
            )
            return
        if found is None:
            return
        checkpoint = folder / f"{tracker.PREFIX}{found.named}"
        if found.problem is not None and (found.step is not None or checkpoint.is_dir()):
            if found.step is None:
                yield error(
                    "TR443", f"{folder}: {found.problem}, and no earlier checkpoint is whole",
                    f"restore one, remove {tracker.TRACKER} to start again, or set {FRESH}",
                )  # fmt: skip
                return
            yield warning(
                "TR443", f"{folder}: {found.problem}; train resumes from step {found.step} instead",
                "restore the checkpoint if the steps in between matter",
            )  # fmt: skip
            checkpoint = folder / f"{tracker.PREFIX}{found.step}"
        if found.unsealed:
            yield warning(
                "TR444", f"{checkpoint} was written before checkpoints were sealed: nothing tells whether it is whole",
                "nothing, if the run that wrote it was not killed; the next checkpoint is sealed",
            )  # fmt: skip
    yield from _checkpoint(config, checkpoint)


def _keeping(config: DictConfig) -> Iterator[Finding]:
    """Who seals the checkpoints and tells the tracker of them; V0 is wrapped (trainer/checkpoints/v0.py)."""
    name = config.trainer.checkpoint_callback_class
    if config.trainer.use_v1 and config.actor_rollout_ref.actor.checkpoint.async_save and not _seals(name):
        yield error(
            "TR445", f"trainer.checkpoint_callback_class={name} is no SealingCallback, and with "
            "actor.checkpoint.async_save=true verl leaves the tracker to it: no checkpoint would ever be resumed",
            f"make it a subclass of {SEALING} that calls super().on_save(...), or set "
            "actor_rollout_ref.actor.checkpoint.async_save=false",
        )  # fmt: skip
    if config.trainer.max_actor_ckpt_to_keep == 1:
        yield warning(
            "TR446", "trainer.max_actor_ckpt_to_keep=1: verl removes the last checkpoint before the new one is whole, "
            "and a run that dies in between has none",
            "trainer.max_actor_ckpt_to_keep=null checkpoints.keep=2",
        )  # fmt: skip


def _seals(name: str | None) -> bool:
    from verl.utils.import_utils import load_class_from_fqn

    from tr_grpo.trainer.checkpoints.callback import SealingCallback

    try:
        return name is not None and issubclass(load_class_from_fqn(name, "CheckpointCallback"), SealingCallback)
    except (ImportError, AttributeError, ValueError):
        return False


def _checkpoint(config: DictConfig, checkpoint: Path) -> Iterator[Finding]:
    done, schedule = int(checkpoint.name.removeprefix("global_step_")), Schedule.from_config(config)
    if done >= schedule.steps:
        yield error(
            "TR410", f"{checkpoint.parent} already holds step {done} of {schedule.steps}: resuming would do nothing",
            f"raise trainer.total_training_steps and trainer.total_epochs, or set {FRESH}",
        )  # fmt: skip
        return
    if not checkpoint.is_dir():
        yield error(
            "TR430",
            f"{checkpoint.parent / tracker.TRACKER} names step {done}, but {checkpoint} is not there: verl would start "
            "again from step 0 and write over the rest",
            f"restore the checkpoint, remove {tracker.TRACKER}, or set {FRESH}",
        )  # fmt: skip
        return
    if not config.trainer.use_v1 and done % schedule.steps_per_epoch == 0:
        yield warning(
            "TR433", f"step {done} is an epoch's last: verl's V0 trainer takes the loaded data position for the next "
            "epoch's, which is then empty, so an epoch is lost",
            "resume an earlier checkpoint with trainer.resume_mode=resume_path, or set trainer.use_v1=true",
        )  # fmt: skip
    yield from _devices(config, checkpoint)
    yield from _settings(config, checkpoint.parent)


def _devices(config: DictConfig, checkpoint: Path) -> Iterator[Finding]:
    """FSDP's shards are read by the rank that wrote them; other nodes' are not visible here."""
    devices = BatchLedger.from_config(config).devices
    names = {path.name.split("_")[3] for path in (checkpoint / "actor").glob("model_world_size_*_rank_*.pt")}
    if names and str(devices) not in names:
        yield error(
            "TR431", f"{checkpoint} was written by {', '.join(sorted(names))} devices, and this run has {devices}",
            f"use as many devices, or set {FRESH}",
        )  # fmt: skip


def _settings(config: DictConfig, folder: Path) -> Iterator[Finding]:
    written = folder / "config.yaml"
    if not written.is_file():
        return
    before = OmegaConf.load(written)
    yield from _adapters(before, config, folder)
    changed = []
    for key in ORDER_OR_METHOD:
        old, new = OmegaConf.select(before, key, default=ABSENT), OmegaConf.select(config, key)
        if old != new and old is not ABSENT:
            changed.append(f"{key} {old} -> {new}")
    if changed:
        yield warning(
            "TR432", f"the run in {folder} goes on with other settings: {'; '.join(changed)}",
            f"restore them, or set {FRESH}",
        )  # fmt: skip


def _adapters(before: DictConfig | ListConfig, config: DictConfig, folder: Path) -> Iterator[Finding]:
    pairs = {key: (OmegaConf.select(before, key), OmegaConf.select(config, key)) for key in ADAPTERS}
    if not any(pairs[ADAPTERS[0]]):
        return  # LoRA neither before nor now
    if changed := [f"{key} {old} -> {new}" for key, (old, new) in pairs.items() if old != new]:
        yield error(
            "TR453", f"the checkpoint in {folder} has other adapters: {'; '.join(changed)}",
            f"restore them, or set {FRESH}",
        )  # fmt: skip
