"""A small healthy run, which each test of the preflight spoils in its own way."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from tr_grpo.analysis.quickstart import PUZZLES
from tr_grpo.data_prep.knights_knaves import DatasetConfig, build_dataset
from tr_grpo.data_prep.tiny_model.files import copy_shipped
from tr_grpo.trainer.compose import GROUPS, compose


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and model of a small healthy run."""
    folder = tmp_path_factory.mktemp("healthy")
    build_dataset(DatasetConfig(folder / "data", (3,), 40, 10, 0, PUZZLES))
    copy_shipped(folder / "model")
    return folder


@functools.cache
def composed(groups: tuple[str, ...]) -> DictConfig:
    """Composing takes half a second, so each choice of groups is composed once."""
    return compose(groups)


@pytest.fixture
def run(files: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """A run on those files, with further overrides ``key=value`` or ``group=option``."""

    def build(*overrides: str) -> DictConfig:
        groups = tuple(text for text in overrides if text.partition("=")[0] in GROUPS)
        config = copy.deepcopy(composed(groups))
        for text in (
            f"data.train_files={files}/data/train.parquet",
            f"data.val_files={files}/data/test.parquet",
            f"actor_rollout_ref.model.path={files}/model",
            f"paths.outputs={tmp_path}",
            *(text for text in overrides if text not in groups),
        ):
            key, _, value = text.partition("=")
            OmegaConf.update(config, key.lstrip("+"), yaml.safe_load(value), force_add=key.startswith("+"))
        return config

    return build
