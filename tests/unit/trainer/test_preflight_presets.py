"""No false alarm on what is shipped: every task with every model, and on every cluster, as far as the config tells."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from findings import codes
from omegaconf import DictConfig, OmegaConf

from tr_grpo.analysis.quickstart import PUZZLES
from tr_grpo.data_prep.arithmetic import ArithmeticConfig, build_arithmetic
from tr_grpo.data_prep.facts import FactsConfig, build_facts
from tr_grpo.data_prep.knights_knaves import DatasetConfig, build_dataset
from tr_grpo.data_prep.tiny_model.files import SHIPPED, SHIPPED_ARITHMETIC, SHIPPED_FACTS, copy_shipped
from tr_grpo.trainer import preflight
from tr_grpo.trainer.compose import CONFIG_FOLDER, GROUPS, LIST_GROUP, compose, options
from tr_grpo.trainer.preflight import batch, loss, sampling, settings

OF_THE_MACHINE = {"TR502", "TR503", "TR509", "TR513"}
"""What this machine may lack, whatever the run."""


@functools.cache
def base() -> DictConfig:
    """verl's config and ours without any group."""
    config = compose([f"~{group}" for group in GROUPS if group != LIST_GROUP])
    OmegaConf.set_struct(config, False)
    return config


@functools.cache
def chain(group: str, name: str) -> DictConfig:
    """An option's file over the files that it builds on, as Hydra merges them."""
    own = cast(DictConfig, OmegaConf.load(CONFIG_FOLDER / group / f"{name}.yaml"))
    below = [str(part) for part in own.pop("defaults", []) if part != "_self_"]
    return cast(DictConfig, OmegaConf.merge(*(chain(group, part) for part in below), own))


def merged(task: str, llm: str, cluster: str, algo: str = "grpo") -> DictConfig:
    """What ``compose`` gives, in a tenth of the time."""
    chosen = {"task": task, "llm": llm, "algo": algo, "cluster": cluster, "track": "console"}
    return cast(DictConfig, OmegaConf.merge(base(), *(chain(group, name) for group, name in chosen.items())))


def combinations() -> Iterator[tuple[str, str]]:
    """Every model where the most devices are shared (the tiny models' four prompts are for one), every cluster once."""
    for llm in options("llm"):
        yield llm, "cpu" if llm.startswith("tiny") else "node_8x80gb"
    for cluster in options("cluster"):
        yield "qwen2_5_0_5b_instruct", cluster


@pytest.mark.parametrize(
    ("task", "llm", "cluster"),
    [
        ("knights_knaves", "tiny", "cpu"),
        ("math_deepscaler", "deepseek_r1_distill_qwen_1_5b", "node_8x80gb"),
        ("search_qa_r1", "base_model", "gpu_1"),
    ],
)
def test_the_short_way_is_hydras(task: str, llm: str, cluster: str) -> None:
    whole = compose([f"task={task}", f"llm={llm}", f"cluster={cluster}"])
    assert OmegaConf.to_container(merged(task, llm, cluster)) == OmegaConf.to_container(whole)


@pytest.mark.parametrize("task", options("task"))
def test_no_combination_raises_an_alarm(task: str) -> None:
    for llm, cluster in combinations():
        config = merged(task, llm, cluster)
        found = [*batch.check(config), *sampling.check(config)]
        assert codes(found) == [], f"{task} {llm} {cluster}: {found}"


@pytest.mark.parametrize("cluster", options("cluster"))
@pytest.mark.parametrize("task", options("task"))
def test_verl_and_the_loss_take_every_task_on_every_cluster(task: str, cluster: str) -> None:
    config = merged(task, "qwen2_5_3b_instruct", cluster, "tr_grpo")
    assert codes([*loss.check(config), *settings.check(config)]) == []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data and models of the project's own tiny presets."""
    folder = tmp_path_factory.mktemp("presets")
    build_dataset(DatasetConfig(folder / "data/knights_knaves", (3,), 40, 10, 0, PUZZLES))
    build_arithmetic(ArithmeticConfig(folder / "data/arithmetic", train=200, test=20))
    build_facts(FactsConfig(folder / "data/facts", people=120, train=200, test=10))
    for task, weights in (("knights_knaves", SHIPPED), ("arithmetic", SHIPPED_ARITHMETIC), ("facts", SHIPPED_FACTS)):
        copy_shipped(folder / f"models/tiny_{task}", weights)
    return folder


@pytest.mark.parametrize("algo", ["grpo", "tr_grpo"])
@pytest.mark.parametrize(
    ("task", "llm"), [("knights_knaves", "tiny"), ("arithmetic", "tiny_arithmetic"), ("facts", "tiny_facts")]
)
def test_a_tiny_run_is_healthy_from_end_to_end(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, llm: str, algo: str
) -> None:
    """But for the search server, which is not up."""
    monkeypatch.setattr(preflight.extensions, "VLLM", "pass")  # tested beside it, and slow
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = merged(task, llm, "cpu", algo)
    config.paths = {"data": f"{made}/data", "models": f"{made}/models", "outputs": str(tmp_path)}
    OmegaConf.resolve(config)
    found = preflight.examine(config)
    assert found.skipped == ()
    assert {one.code for one in found.findings} - OF_THE_MACHINE == ({"TR705"} if task == "facts" else set())
