"""What of two configs is method, seed, or a reason not to compare; on the recipe's own configs."""

from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from tr_grpo.analysis.config_difference import (
    ABSENT,
    ALGORITHMS,
    COPIES,
    LOSS,
    NEVER_MATTERS,
    differences,
    is_seed,
    leaves,
    method_keys,
    sort,
    under,
)
from tr_grpo.trainer.compose import CONFIG_FOLDER, compose, options

TASK = ("task=knights_knaves", "llm=tiny", "cluster=cpu")


@cache
def baseline() -> DictConfig:
    composed = compose([*TASK, "algo=grpo"])
    OmegaConf.set_struct(composed, False)
    return composed


@cache
def config(*overrides: str) -> dict[str, Any]:
    """The resolved config; groups are merged onto one composed baseline, for Hydra takes a second a config."""
    tree = deepcopy(baseline())
    for override in overrides:
        key, _, value = override.partition("=")
        if key in ("algo", "track"):
            tree.merge_with(*group_files(key, value))
        else:
            OmegaConf.update(tree, key, yaml.safe_load(value))
    return OmegaConf.to_container(tree, resolve=True, throw_on_missing=False)  # type: ignore[return-value]


def group_files(group: str, name: str) -> list[DictConfig]:
    """A group's file, after those that it builds on."""
    content = OmegaConf.load(CONFIG_FOLDER / group / f"{name}.yaml")
    assert isinstance(content, DictConfig)
    parents = [parent for parent in content.pop("defaults", []) if parent != "_self_"]
    return [*(file for parent in parents for file in group_files(group, parent)), content]


def sorted_differences(first: tuple[str, ...], second: tuple[str, ...]) -> Any:
    configs = {"a": config(*first), "b": config(*second)}
    return sort(differences(configs), [own["group"]["algo"] for own in configs.values()])


@pytest.mark.parametrize("algo", options("algo"))
def test_an_algo_differs_from_the_baseline_in_the_method_alone(algo: str) -> None:
    found = sorted_differences(("algo=grpo",), (f"algo={algo}",))
    assert found.seeds == {}
    assert found.other == {}
    assert bool(found.method) == (algo != "grpo")


def test_the_merged_configs_are_those_that_are_composed() -> None:
    composed = OmegaConf.to_container(compose([*TASK, "algo=tr_dapo"]), resolve=True, throw_on_missing=False)
    assert config("algo=tr_dapo") == composed


def test_the_weight_is_what_tr_grpo_adds() -> None:
    found = sorted_differences(("algo=grpo",), ("algo=tr_grpo",))
    assert all(under(key, [LOSS]) for key in found.method)
    assert found.method[f"{LOSS}.tau"] == {"a": ABSENT, "b": 9.0}


def test_a_key_that_neither_algo_sets_is_not_the_method() -> None:
    clip = "actor_rollout_ref.actor.clip_ratio_high"
    assert clip in sorted_differences(("algo=grpo",), ("algo=tr_grpo", f"{clip}=0.5")).other
    assert clip in sorted_differences(("algo=grpo",), ("algo=dapo", f"{clip}=0.5")).method


@pytest.mark.parametrize("seed", ["data.seed", "actor_rollout_ref.actor.data_loader_seed"])
def test_seeds_are_told_from_settings(seed: str) -> None:
    found = sorted_differences((f"{seed}=5",), (f"{seed}=6",))
    assert (found.method, found.seeds, found.other) == ({}, {seed: {"a": 5, "b": 6}}, {})


def test_every_seed_of_the_composed_config_is_known_as_one() -> None:
    keys = [key for key, _ in leaves(config()) if "seed" in key.rpartition(".")[2]]
    assert "data.seed" in keys
    assert all(is_seed(key) for key in keys)


def test_a_copy_is_named_only_where_it_is_none() -> None:
    n = "actor_rollout_ref.rollout.n"
    assert list(sorted_differences((f"{n}=4",), (f"{n}=8",)).other) == [n]
    one_sided = "trainer.v1.sampler.sampler_kwargs.train_batch_size"
    assert one_sided in sorted_differences((), (f"{one_sided}=3",)).other


def test_copies_and_lists_name_keys_of_the_composed_config() -> None:
    keys = [key for key, _ in leaves(config())]
    for named in (*COPIES, *COPIES.values()):
        assert named in keys, named
    # Environment variables are set at the start, or by track=tensorboard.
    for prefix in NEVER_MATTERS:
        assert "env_vars" in prefix or any(under(key, [prefix]) for key in keys), prefix


def test_copies_are_copies() -> None:
    flat = dict(leaves(config()))
    assert all(flat[copy] == flat[source] for copy, source in COPIES.items())


def test_names_and_places_never_matter() -> None:
    there = ("trainer.experiment_name=x", "trainer.default_local_dir=/elsewhere", "track=tensorboard")
    found = sorted_differences((), there)
    assert (found.method, found.seeds, found.other) == ({}, {}, {})


def test_data_model_learning_rate_and_gpus_do_matter() -> None:
    changes = ("data.train_files=/x.parquet", "actor_rollout_ref.model.path=/m", "actor_rollout_ref.actor.optim.lr=1")
    found = sorted_differences((), (*changes, "trainer.n_gpus_per_node=2"))
    assert set(found.other) == {*(change.partition("=")[0] for change in changes), "trainer.n_gpus_per_node"}


def test_settings_of_a_critic_matter_where_there_is_one() -> None:
    key = "critic.optim.lr"
    assert sorted_differences((), (f"{key}=1",)).other == {}
    gae = "algorithm.adv_estimator=gae"
    assert key in sorted_differences((gae,), (gae, f"{key}=1")).other


def test_a_section_matters_where_a_run_reads_it() -> None:
    on, n = "distillation.enabled=true", "distillation.n_gpus_per_node"
    assert sorted_differences((), (f"{n}=3",)).other == {}
    assert n in sorted_differences((on,), (on, f"{n}=3")).other
    assert "distillation.enabled" in sorted_differences((), (on,)).other
    assert list(sorted_differences((), ("data.max_response_length=77",)).other) == ["data.max_response_length"]


def test_the_package_may_lie_elsewhere() -> None:
    key = "actor_rollout_ref.rollout.agent.agent_loop_config_path"
    assert sorted_differences((), (f"{key}=/site-packages/search/agent_loops.yaml",)).other == {}
    assert key in sorted_differences((), (f"{key}=/own/loops.yaml",)).other


def test_an_algo_that_is_not_in_the_folder_is_known_by_its_loss() -> None:
    for name in ("of_somebody_else", "../task/math", "\0", ""):
        assert method_keys(name) == frozenset()
    found = differences({"a": {"actor_rollout_ref": {"actor": {"policy_loss": {"x": 1}, "lr": 1}}}, "b": {}})
    result = sort(found, ["of_somebody_else"])
    assert list(result.method) == [f"{LOSS}.x"]
    assert list(result.other) == ["actor_rollout_ref.actor.lr"]


def test_every_file_of_an_algo_is_read() -> None:
    names = [path.stem for path in ALGORITHMS.glob("*.yaml")]
    assert len(names) > 30
    assert all(method_keys(name) for name in names)


def test_a_prefix_ends_at_a_name() -> None:
    assert under("a.b.c", ["a.b"])
    assert not under("a.bc", ["a.b"])


@given(
    st.dictionaries(st.sampled_from("abcd"), st.none() | st.booleans() | st.integers(0, 2) | st.text("xy", max_size=2))
)
def test_equal_configs_do_not_differ_and_an_added_key_is_named(content: dict[str, Any]) -> None:
    assert differences({"a": {"k": content}, "b": {"k": dict(content)}, "c": {"k": content}}) == {}
    assert differences({"a": {"k": {**content, "new": 1}}, "b": {"k": {**content, "new": 2}}}) == {
        "k.new": {"a": 1, "b": 2}
    }


def test_true_is_not_one() -> None:
    assert list(differences({"a": {"k": True}, "b": {"k": 1}})) == ["k"]
    assert differences({"a": {"k": 1}, "b": {"k": 1.0}}) == {}
