"""Joining a Ray that runs: what it refuses is taken out of every cluster preset."""

import inspect
import re

import pytest

from tr_grpo.trainer.compose import compose, options
from tr_grpo.trainer.launch import attach


def arguments_that_ray_refuses() -> set[str]:
    """Read from Ray's own source: the names in the refusals of a connection to a running cluster."""
    from ray._private import worker

    source = inspect.getsource(inspect.unwrap(worker.init))
    branch = source[source.index("we are connecting to an existing cluster") :]
    return {
        name
        for condition in re.findall(r"\n        if (.+?):\n            raise ValueError", branch)
        for name in re.findall(r"\b_?[a-z][a-z_]+\b", condition)
        if name not in ("is", "not", "or", "and", "len")
    } - {"_enable_object_reconstruction"}  # a flag that is off unless somebody sets it; null would be off, too


def test_what_ray_refuses_is_exactly_what_is_taken_out() -> None:
    assert arguments_that_ray_refuses() == set(attach.REFUSED)


@pytest.mark.parametrize("cluster", options("cluster"))
def test_every_preset_joins_a_ray_of_the_given_size(cluster: str) -> None:
    config = compose([f"cluster={cluster}", *attach.overrides(3, 4)])
    ray_init = config.ray_kwargs.ray_init
    assert ray_init.address == "auto"
    assert all(ray_init[key] is None for key in attach.REFUSED)
    assert (config.trainer.nnodes, config.trainer.n_gpus_per_node) == (3, 4)
    # What workers need in their environment stays.
    assert ray_init.runtime_env.env_vars == compose([f"cluster={cluster}"]).ray_kwargs.ray_init.runtime_env.env_vars


def test_the_allocation_wins_over_what_was_typed() -> None:
    typed = ["cluster=cpu", "trainer.nnodes=7", "trainer.n_gpus_per_node=7", "ray_kwargs.ray_init.num_cpus=7"]
    config = compose([*typed, *attach.overrides(2, 1)])
    assert (config.trainer.nnodes, config.trainer.n_gpus_per_node) == (2, 1)
    assert config.ray_kwargs.ray_init.num_cpus is None
