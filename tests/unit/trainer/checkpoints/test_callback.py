"""What is done once verl has written a checkpoint, with verl's own callback machinery, and what that rests on."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

from tr_grpo.trainer import stop
from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.checkpoints.seal import fault
from tr_grpo.trainer.compose import compose


def write(run_folder: Path, step: int) -> str:
    actor = run_folder / f"global_step_{step}" / "actor"
    actor.mkdir(parents=True)
    (actor / "model_world_size_1_rank_0.pt").write_bytes(bytes(step))
    return str(actor.parent)


def test_verl_builds_ours_and_a_saved_checkpoint_is_sealed_named_and_the_oldest_removed(tmp_path: Path) -> None:
    from verl.trainer.ppo.checkpoint_callback import build_checkpoint_callback

    config = compose([f"trainer.default_local_dir={tmp_path}", "checkpoints.keep=2"])
    callback = build_checkpoint_callback(config)
    trainer = SimpleNamespace(total_training_steps=100)
    for step in (1, 2, 3):
        callback.on_save(trainer=trainer, global_step=step, checkpoint_dir=write(tmp_path, step), async_save=True)
        assert tracker.read(tmp_path) == step
        assert fault(tmp_path / f"global_step_{step}") is None
    assert tracker.steps(tmp_path) == [2, 3]
    assert trainer.total_training_steps == 100


def test_a_request_saves_at_each_step_from_then_on_and_ends_the_run_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verl.trainer.ppo.checkpoint_callback import build_checkpoint_callback

    monkeypatch.setattr(stop, "POLL_S", 0.01)
    config = compose([f"trainer.default_local_dir={tmp_path}", "trainer.save_freq=-1"])
    callback = build_checkpoint_callback(config)
    stop.request(tmp_path)
    for _ in range(1000):
        if config.trainer.save_freq == 1:
            break
        stop.threading.Event().wait(0.01)
    assert config.trainer.save_freq == 1
    trainer = SimpleNamespace(total_training_steps=100)
    callback.on_save(trainer=trainer, global_step=4, checkpoint_dir=write(tmp_path, 4), async_save=True)
    assert trainer.total_training_steps == 4
    stop.withdraw(tmp_path)
    assert not stop.requested(tmp_path)


def test_shards_that_are_not_seen_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tr_grpo.trainer.checkpoints.callback import finish

    write(tmp_path, 2)
    (tmp_path / "global_step_2/actor/model_world_size_1_rank_0.pt").rename(
        tmp_path / "global_step_2/actor/model_world_size_3_rank_1.pt"
    )
    finish(tmp_path, 2, None)
    assert "ranks [0, 2]" in capsys.readouterr().err


def test_verls_trainers_leave_the_tracker_to_the_callback() -> None:
    """With async_save neither trainer writes the tracker; V1 calls the callback, V0 has none and is wrapped."""
    from verl.trainer.ppo.ray_trainer import RayPPOTrainer
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    v1, v0 = inspect.getsource(PPOTrainer._save_checkpoint), inspect.getsource(RayPPOTrainer._save_checkpoint)
    for source in (v1, v0):
        assert source.index("async_save") < source.index("latest_checkpointed_iteration.txt")
    assert v1.index("on_save(") > v1.index("save_checkpoint(") > 0
    assert "checkpoint_callback" not in v0
    assert "save_checkpoint" in inspect.getsource(RayPPOTrainer.fit)


def test_fsdp_saves_at_once_whatever_async_save_says() -> None:
    from verl.utils.checkpoint import checkpoint_manager, fsdp_checkpoint_manager
    from verl.workers.engine.fsdp import transformer_impl

    for module in (checkpoint_manager, fsdp_checkpoint_manager, transformer_impl):
        assert "async_save" not in inspect.getsource(module)


def test_verl_reads_save_freq_and_the_last_step_anew_at_each_step() -> None:
    """What the stop rests on: the loop's own reading of config.trainer.save_freq and trainer.total_training_steps."""
    from verl.trainer.ppo.ray_trainer import RayPPOTrainer
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    for trainer in (PPOTrainer, RayPPOTrainer):
        loop = inspect.getsource(trainer.fit)
        assert "self.config.trainer.save_freq" in loop
        assert "self.global_steps >= self.total_training_steps" in loop
    assert "self.global_steps <= self.total_training_steps:" in inspect.getsource(PPOTrainer.fit)
