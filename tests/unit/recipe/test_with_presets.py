"""The presets of ``with``: chosen as a list, recorded, documented, and layout alone where the page says so."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.compose import CONFIG_FOLDER, compose, options

PAGE = (Path(__file__).parents[3] / "docs" / "compositions.md").read_text("utf-8")
LEARNED = ("actor.optim", "actor.policy_loss", "rollout.temperature", "rollout.n", "rollout.quantization", "lora")
"""Parts of ``actor_rollout_ref`` that decide what is learned."""


def rows(column: int) -> dict[str, str]:
    """A column of the page's first table, by preset."""
    lines = PAGE.partition("| preset |")[2].partition("\n\n")[0].splitlines()[2:]
    return {line.split("|")[1].strip(" `"): line.split("|")[column].strip() for line in lines}


def keys(name: str) -> set[str]:
    """The dotted keys that a preset's file sets."""
    found: set[str] = set()

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))
        else:
            found.add(path)

    walk(OmegaConf.to_container(OmegaConf.load(CONFIG_FOLDER / "with" / f"{name}.yaml")), "")
    return found


def test_the_page_has_a_row_for_every_preset_and_no_other() -> None:
    assert sorted(rows(1)) == options("with")
    assert sorted(set(re.findall(r"with=\[(\w+)\]", PAGE)) - set(options("with"))) == []


@pytest.mark.parametrize("name", [name for name, learned in rows(3).items() if learned == "no"])
def test_a_preset_that_is_layout_sets_nothing_that_is_learned(name: str) -> None:
    for key in keys(name):
        assert key.startswith(("actor_rollout_ref.", "attention.")), key
        assert not any(f".{part}" in key for part in LEARNED), key


def test_those_that_change_what_is_learned_say_so() -> None:
    assert {name for name, learned in rows(3).items() if "yes" in learned} == {
        "lora", "async", "one_step_off", "fp8_rollout",
    }  # fmt: skip


@pytest.mark.parametrize("name", options("with"))
def test_every_file_starts_with_what_it_is(name: str) -> None:
    first, second, *_ = (CONFIG_FOLDER / "with" / f"{name}.yaml").read_text("utf-8").splitlines()
    assert first == "# @package _global_"
    assert second.startswith("# ")


def test_several_are_merged_and_recorded_in_the_order_of_the_list() -> None:
    config = compose(["with=[lora, offload]"])
    assert config.group["with"] == "lora,offload"
    assert config.actor_rollout_ref.model.lora_rank == 32
    assert config.actor_rollout_ref.actor.fsdp_config.param_offload is True
    assert compose([]).group["with"] == compose(["with=[]"]).group["with"] == ""


def test_the_command_line_wins_over_a_preset_and_a_preset_over_the_cluster() -> None:
    config = compose(["cluster=node_8x80gb", "with=offload", "actor_rollout_ref.ref.fsdp_config.param_offload=false"])
    assert config.actor_rollout_ref.actor.fsdp_config.optimizer_offload is True
    assert config.actor_rollout_ref.ref.fsdp_config.param_offload is False


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("with=loro", "no such option loro"),
        ("with=[lora,loro]", "no such option loro"),
        ("with=[lora,lora]", "named twice"),
    ],
)
def test_a_bad_list_is_one_line(word: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        compose([word])
    assert "\n" not in str(caught.value)
