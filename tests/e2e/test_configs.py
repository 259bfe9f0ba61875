"""Combinations of the config groups compose and resolve."""

import itertools
from collections.abc import Iterator

import pytest
from omegaconf import OmegaConf

from tr_grpo.trainer.compose import GROUPS, compose, options

MAIN_ALGORITHMS = ["grpo", "tr_grpo"]


def combinations() -> Iterator[dict[str, str]]:
    """All of them for the two main algorithms; for the others, which have no key in common with cluster and track,
    those with each task and model."""
    everything = {group: options(group) for group in GROUPS}
    for choice in itertools.product(*(everything | {"algo": MAIN_ALGORITHMS}).values()):
        yield dict(zip(everything, choice, strict=True))
    for algo, task, llm in itertools.product(options("algo"), options("task"), options("llm")):
        yield {"algo": algo, "task": task, "llm": llm}


@pytest.mark.timeout(600)
def test_combinations_of_groups_compose_and_resolve() -> None:
    chosen = list(combinations())
    assert len(chosen) >= 2 * 1 * 4 * 4 * 3 + 33 * 1 * 4
    for groups in chosen:
        config = compose([f"{group}={name}" for group, name in groups.items()])
        assert groups.items() <= OmegaConf.to_container(config, resolve=True)["group"].items()
