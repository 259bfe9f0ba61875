"""An evaluation has the training's settings, changed by what the command line says and nothing else."""

import copy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from tr_grpo.analysis.evaluate.checkpoint import Model
from tr_grpo.analysis.evaluate.settings import (
    CONFIG,
    Sampling,
    Wishes,
    claim,
    differences,
    read_config,
    read_record,
    read_sampling,
    record_of,
)
from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.compose import compose

GROUPS = ["task=knights_knaves", "llm=tiny", "cluster=cpu"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file that is there; settings do not look inside."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "test.parquet").write_bytes(b"rows")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Model:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return Model(str(folder), None)


@pytest.fixture
def trained(tmp_path: Path, data: Path, model: Model) -> Model:
    """The same model as a run's."""
    config = compose([*GROUPS, f"data.val_files={data}/test.parquet", "reward.reward_kwargs.rule=logic_rl"])
    path = tmp_path / "run.yaml"
    OmegaConf.save(config, path, resolve=True)
    return Model(model.path, path)


def test_a_runs_own_settings_are_used(trained: Model, data: Path) -> None:
    config = read_config(trained, [], Wishes())
    assert config.reward.reward_kwargs.rule == "logic_rl"
    assert config.data.val_files == [str(data / "test.parquet")]
    assert config.actor_rollout_ref.model.path == trained.path
    assert config.trainer.device == "cpu"


def test_overrides_of_a_run_reach_what_followed_them_in_training(trained: Model) -> None:
    overrides = [
        "data.max_prompt_length=99",
        "reward.reward_kwargs.rule=tiny",
        "+reward.reward_kwargs.judge_kwargs.x=1",
    ]
    config = read_config(trained, overrides, Wishes(max_tokens=77))
    rollout = config.actor_rollout_ref.rollout
    assert (config.data.max_prompt_length, rollout.prompt_length) == (99, 99)
    assert (config.data.max_response_length, rollout.response_length) == (77, 77)
    assert config.reward.reward_kwargs.rule == "tiny"
    assert config.reward.reward_kwargs.judge_kwargs == {"x": 1}


def test_a_run_can_be_evaluated_on_another_cluster(trained: Model) -> None:
    config = read_config(trained, ["cluster=gpu_1"], Wishes())
    assert config.trainer.device == "cuda"
    assert config.actor_rollout_ref.rollout.gpu_memory_utilization == 0.5
    assert config.reward.reward_kwargs.rule == "logic_rl"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task=math"], "of the groups only cluster= can be changed"),
        (["cluster=moon"], "cluster=moon: no such option; choose one of cpu"),
        (["data.max_prompt_lenght=3"], "data.max_prompt_lenght: no such key"),
        (["data.max_prompt_length=[3"], "mismatched input|no viable|missing"),
    ],
)
def test_an_override_that_does_not_fit_a_run_is_refused(trained: Model, overrides: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_config(trained, overrides, Wishes())


def test_a_model_of_no_run_needs_task_and_llm(model: Model, data: Path) -> None:
    with pytest.raises(InputError, match="say task= and llm="):
        read_config(model, [], Wishes())
    with pytest.raises(InputError, match="say llm="):
        read_config(model, ["task=math"], Wishes())
    config = read_config(model, GROUPS, Wishes(data=(data,)))
    assert config.data.val_files == [str(data / "test.parquet")]
    assert config.data.max_response_length == 136


def test_a_file_that_is_not_there_is_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.parquet: no such file; prepare it"):
        read_config(model, GROUPS, Wishes(data=(tmp_path / "gone.parquet",)))
    with pytest.raises(InputError, match=r"data.val_files of the task"):
        read_config(model, GROUPS, Wishes())


def test_not_a_runs_config_is_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("a: 1")
    with pytest.raises(InputError, match="not the config of a run"):
        read_config(Model(model.path, tmp_path / "other.yaml"), [], Wishes())


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    return compose(GROUPS)


def test_sampling_is_the_validations_unless_asked_otherwise(composed: DictConfig) -> None:
    """Knights & Knaves validates greedily and samples at temperature 1 with the tiny model."""
    assert read_sampling(composed, Wishes()) == Sampling(0, True, 1.0, 1.0, -1, 136, 0)
    assert read_sampling(composed, Wishes(samples=4)) == Sampling(4, False, 1.0, 1.0, -1, 136, 0)
    wishes = Wishes(samples=4, greedy=True, temperature=0.6, top_p=0.9, top_k=20, seed=3)
    assert read_sampling(composed, wishes) == Sampling(4, True, 0.6, 0.9, 20, 136, 3)
    deepscaler = compose(["task=math_deepscaler", "llm=deepseek_r1_distill_qwen_1_5b", "cluster=node_8x80gb"])
    assert read_sampling(deepscaler, Wishes()) == Sampling(16, False, 0.6, 1.0, -1, 8192, 0)
    assert Sampling(2, True, 1.0, 1.0, -1, 8, 0).wanted == [(0, True), (0, False), (1, False)]


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (Wishes(samples=0), "nothing to do"),
        (Wishes(samples=-1), "between 0 and 1024"),
        (Wishes(samples=2000), "between 0 and 1024"),
        (Wishes(samples=4, temperature=0.0), "would be the same; use --greedy"),
        (Wishes(samples=4, top_p=1.5), "--top-p 1.5"),
        (Wishes(samples=4, top_k=-2), "--top-k -2"),
    ],
)
def test_sampling_that_cannot_be_is_one_clear_line(composed: DictConfig, wishes: Wishes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_sampling(composed, wishes)


@pytest.fixture
def recorded(trained: Model) -> tuple[DictConfig, dict[str, Any]]:
    config = read_config(trained, [], Wishes())
    wishes = Wishes(samples=4)
    return config, record_of(config, trained, read_sampling(config, wishes), wishes, 1)


def test_a_folder_goes_on_with_the_same_settings_alone(
    tmp_path: Path, recorded: tuple[DictConfig, dict[str, Any]]
) -> None:
    config, record = recorded
    out = tmp_path / "out"
    out.mkdir()
    assert not claim(out, record, config)
    assert claim(out, record, config)
    assert read_record(out) == record
    other = copy.deepcopy(record)
    other["sampling"]["seed"] = 1
    other["model"]["fingerprint"] = "f" * 64
    with pytest.raises(InputError, match=r"other model.fingerprint, sampling.seed \(0 there, 1 here\); choose another"):
        claim(out, other, config)


def test_where_it_runs_does_not_decide(tmp_path: Path, trained: Model, recorded: tuple[DictConfig, Any]) -> None:
    _, record = recorded
    wishes = Wishes(samples=4)
    config = read_config(trained, ["search.url=http://elsewhere:1", "search.connections=3"], wishes)
    assert record_of(config, trained, read_sampling(config, wishes), wishes, 1) == record


def test_a_rule_another_scorer_or_other_data_are_another_evaluation(
    trained: Model, data: Path, recorded: tuple[DictConfig, Any]
) -> None:
    _, record = recorded
    wishes = Wishes(samples=4)
    config = read_config(trained, ["reward.reward_kwargs.rule=tiny"], wishes)
    (data / "test.parquet").write_bytes(b"other rows")
    other = record_of(config, trained, read_sampling(config, wishes), wishes, 1)
    changed = differences(record, other)
    assert len(changed) == 2
    assert changed[0].startswith(f"data.{data}/test.parquet")
    assert changed[1] == "reward.rule (logic_rl there, tiny here)"


def test_samples_without_a_record_are_not_taken_over(
    tmp_path: Path, recorded: tuple[DictConfig, dict[str, Any]]
) -> None:
    config, record = recorded
    (tmp_path / "out" / "samples").mkdir(parents=True)
    (tmp_path / "out" / "samples" / "part-0001-000-000000.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds samples without evaluation\.json"):
        claim(tmp_path / "out", record, config)
    assert not (tmp_path / "out" / CONFIG).exists()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}', "{"])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(InputError, match="not the record of an evaluation"):
        read_record(tmp_path)
