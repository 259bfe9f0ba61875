"""Preflight of a run that goes on: where it stands, with which devices and settings, and when it will end."""

from pathlib import Path

import pytest
from findings import Run, codes
from omegaconf import DictConfig, OmegaConf
from torchdata.stateful_dataloader import StatefulDataLoader

from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.checkpoints.seal import SEAL, seal
from tr_grpo.trainer.preflight import resume, schedule
from tr_grpo.trainer.preflight.schedule import Schedule

V0 = "trainer.use_v1=false"


def checkpoint(config: DictConfig, step: int, devices: int = 1) -> Path:
    """A run folder that stands at ``step``."""
    folder = Path(config.trainer.default_local_dir)
    actor = folder / f"global_step_{step}" / "actor"
    actor.mkdir(parents=True)
    for rank in range(devices):
        (actor / f"model_world_size_{devices}_rank_{rank}.pt").write_bytes(b"")
    seal(folder / f"global_step_{step}")
    tracker.write(folder, step)
    return folder


def test_a_new_run_resumes_nothing(run: Run) -> None:
    assert codes(list(resume.check(run()))) == []


def test_a_finished_run_is_not_resumed_into_nothing(run: Run) -> None:
    """40 rows in batches of 8, 5 epochs, 25 steps asked for: both ends are at step 25."""
    config = run()
    folder = checkpoint(config, 24)
    assert codes(list(resume.check(config))) == []
    checkpoint(config, 25)
    assert codes(list(resume.check(config))) == ["TR410"]
    (folder / tracker.TRACKER).write_text("")
    assert codes(list(resume.check(config))) == ["TR409"]


def test_the_last_epoch_ends_a_run_as_its_last_step_does(run: Run) -> None:
    """More steps do not help where the epochs are over: verl would exit with 0."""
    config = run("trainer.total_training_steps=100", "trainer.total_epochs=2")
    checkpoint(config, 10)
    (finding,) = resume.check(config)
    assert finding.code == "TR410"
    assert "step 10 of 10" in finding.message
    unbounded = run("trainer.total_training_steps=null", "trainer.total_epochs=2")
    assert codes(list(resume.check(unbounded))) == ["TR410"]
    assert codes(list(resume.check(run("trainer.total_training_steps=null", "trainer.total_epochs=3")))) == []


def test_a_broken_checkpoint_is_told_with_what_is_resumed_instead(run: Run) -> None:
    config = run()
    folder = checkpoint(config, 3)
    checkpoint(config, 5)
    assert codes(list(resume.check(config))) == []
    (folder / "global_step_5/actor/model_world_size_1_rank_0.pt").write_bytes(b"half")
    (finding,) = resume.check(config)
    assert (finding.code, finding.severity) == ("TR443", "warning")
    assert "rank_0.pt has 4 bytes, and 0 were written; train resumes from step 3 instead" in finding.message
    (folder / "global_step_3" / SEAL).unlink()
    (finding,) = resume.check(config)
    assert (finding.code, finding.severity) == ("TR443", "error")


def test_a_broken_checkpoint_that_is_asked_for_by_name_is_refused(run: Run) -> None:
    named = checkpoint(run(), 3) / "global_step_3"
    config = run("trainer.resume_mode=resume_path", f"trainer.resume_from_path={named}")
    assert codes(list(resume.check(config))) == []
    (named / "actor/model_world_size_1_rank_0.pt").write_bytes(b"half")
    assert codes(list(resume.check(config))) == ["TR443"]


def test_a_checkpoint_of_before_sealing_is_resumed_with_a_word(run: Run) -> None:
    config = run()
    (checkpoint(config, 5) / "global_step_5" / SEAL).unlink()
    assert codes(list(resume.check(config))) == ["TR444"]


def test_a_callback_that_does_not_seal_is_refused_where_verl_leaves_the_tracker_to_it(run: Run) -> None:
    verls = "trainer.checkpoint_callback_class=verl.trainer.ppo.checkpoint_callback.CheckpointCallback"
    assert codes(list(resume.check(run(verls)))) == ["TR445"]
    assert codes(list(resume.check(run("trainer.checkpoint_callback_class=nowhere.Callback")))) == ["TR445"]
    assert codes(list(resume.check(run("trainer.checkpoint_callback_class=null")))) == ["TR445"]
    assert codes(list(resume.check(run(verls, "actor_rollout_ref.actor.checkpoint.async_save=false")))) == []
    assert codes(list(resume.check(run(verls, V0)))) == []


def test_keeping_one_checkpoint_the_way_of_verl_is_warned_of(run: Run) -> None:
    assert codes(list(resume.check(run("trainer.max_actor_ckpt_to_keep=1")))) == ["TR446"]
    assert codes(list(resume.check(run("trainer.max_actor_ckpt_to_keep=2", "checkpoints.keep=1")))) == []


def test_a_tracker_whose_checkpoint_is_gone_does_not_start_from_scratch(run: Run) -> None:
    config = run()
    folder = checkpoint(config, 5)
    (folder / "global_step_5").rename(folder / "elsewhere")
    (finding,) = resume.check(config)
    assert finding.code == "TR430"
    assert "step 5" in finding.message


@pytest.mark.parametrize(
    "path", ["null", "/nowhere/global_step_5", "{folder}", "{folder}/global_step_5/actor", "{folder}/global_step_x"]
)
def test_a_path_to_resume_from_is_that_of_a_checkpoint(run: Run, path: str) -> None:
    folder = checkpoint(run(), 5)
    (folder / "global_step_x").mkdir()
    named = ["trainer.resume_mode=resume_path", f"trainer.resume_from_path={path.format(folder=folder)}"]
    assert codes(list(resume.check(run(*named)))) == ["TR430"]
    whole = ["trainer.resume_mode=resume_path", f"trainer.resume_from_path={folder}/global_step_5"]
    assert codes(list(resume.check(run(*whole)))) == []


def test_an_unknown_mode_is_refused_and_disable_resumes_nothing(run: Run) -> None:
    checkpoint(run(), 25)
    assert codes(list(resume.check(run("trainer.resume_mode=always")))) == ["TR430"]
    assert codes(list(resume.check(run("trainer.resume_mode=disable")))) == []


def test_shards_of_another_number_of_devices_are_not_loaded(run: Run) -> None:
    checkpoint(run(), 5, devices=4)
    (finding,) = resume.check(run())
    assert finding.code == "TR431"
    assert "4 devices" in finding.message
    assert codes(list(resume.check(run("trainer.n_gpus_per_node=4")))) == []


def test_changed_settings_are_named_with_both_values(run: Run) -> None:
    before = run()
    folder = checkpoint(before, 5)
    OmegaConf.save(before, folder / "config.yaml", resolve=True)
    assert codes(list(resume.check(run()))) == []
    assert codes(list(resume.check(run("trainer.test_freq=2", "trainer.total_training_steps=24")))) == []
    (finding,) = resume.check(run("data.seed=7", "actor_rollout_ref.actor.optim.lr=0.002"))
    assert finding.code == "TR432"
    assert "data.seed 1 -> 7" in finding.message
    assert "optim.lr 0.0001 -> 0.002" in finding.message


def test_a_key_that_an_older_run_did_not_write_has_not_changed(run: Run) -> None:
    folder = checkpoint(run(), 5)
    (folder / "config.yaml").write_text("data: {seed: 1}\n")
    assert codes(list(resume.check(run()))) == []


def test_an_epochs_edge_matters_to_v0_alone(run: Run) -> None:
    checkpoint(run(), 10)  # five steps an epoch
    assert codes(list(resume.check(run()))) == []
    assert codes(list(resume.check(run(V0)))) == ["TR433"]


def test_within_an_epoch_v0_resumes_too(run: Run) -> None:
    checkpoint(run(), 9)
    assert codes(list(resume.check(run(V0)))) == []


def test_a_loader_saved_after_its_last_batch_yields_nothing_at_first() -> None:
    """What TR433 says of the data loader that verl saves within the loop."""

    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(list(range(6)), batch_size=2)

    first = loader()
    batches = iter(first)
    for _ in range(3):
        next(batches)
    second = loader()
    second.load_state_dict(first.state_dict())
    assert [len(list(second)) for _ in range(2)] == [0, 3]


def test_the_schedule_ends_with_whichever_comes_first(run: Run) -> None:
    assert Schedule.from_config(run()) == Schedule(5, 5, 25)
    assert Schedule(5, 5, 25).steps == Schedule(5, 5, None).steps == Schedule(5, 5, 40).steps == 25
    assert Schedule.from_config(run("data.train_max_samples=17")).steps_per_epoch == 2


def test_a_last_step_that_is_never_reached_is_found(run: Run) -> None:
    assert codes(list(schedule.check(run()))) == []
    (finding,) = schedule.check(run("trainer.total_training_steps=26"))
    assert finding.code == "TR434"
    assert "after 25 steps" in finding.message


def test_a_run_that_saves_nothing_is_found(run: Run) -> None:
    assert codes(list(schedule.check(run("trainer.save_freq=-1")))) == ["TR435"]
