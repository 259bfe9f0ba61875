"""Combinations of the config groups compose and resolve."""

import itertools
from collections.abc import Iterator

import pytest
from omegaconf import OmegaConf

from tr_grpo.trainer.compose import GROUPS, compose, options

MAIN_ALGORITHMS = ["grpo", "tr_grpo"]


def combinations() -> Iterator[dict[str, str]]:
    """All of them for the two main algorithms; the others are composed in ``tests/unit/trainer/test_compose.py``."""
    everything = {group: options(group) for group in GROUPS}
    for choice in itertools.product(*(everything | {"algo": MAIN_ALGORITHMS}).values()):
        yield dict(zip(everything, choice, strict=True))


@pytest.mark.timeout(600)
def test_combinations_of_groups_compose_and_resolve() -> None:
    chosen = list(combinations())
    assert len(chosen) >= 2 * 1 * 4 * 4 * 3
    for groups in chosen:
        config = compose([f"{group}={name}" for group, name in groups.items()])
        assert groups.items() <= OmegaConf.to_container(config, resolve=True)["group"].items()
