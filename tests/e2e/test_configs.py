"""Every combination of the config groups composes and resolves."""

import itertools

import pytest
from omegaconf import OmegaConf

from tr_grpo.trainer.compose import GROUPS, compose, options

COMBINATIONS = list(itertools.product(*(options(group) for group in GROUPS)))


@pytest.mark.timeout(600)
def test_every_combination_of_groups_composes_and_resolves() -> None:
    assert len(COMBINATIONS) >= 2 * 1 * 4 * 4 * 3
    for choice in COMBINATIONS:
        names = dict(zip(GROUPS, choice, strict=True))
        config = compose([f"{group}={name}" for group, name in names.items()])
        assert OmegaConf.to_container(config, resolve=True)["group"] == names
