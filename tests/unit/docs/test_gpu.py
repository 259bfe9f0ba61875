"""docs/gpu.md: every command composes, the first two runs differ in the method alone, every link leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.plan.devices import CARDS
from tr_grpo.trainer.preflight import batch, loss, sampling, security, settings

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "gpu.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^tr-grpo (train|plan|doctor) (.*)$", TEXT.replace("\\\n", ""), re.MULTILINE)


def overrides(words: str) -> list[str]:
    """Without the flags and their values."""
    return [word for word in shlex.split(words) if "=" in word and not word.startswith("--")]


def composed(words: str) -> DictConfig:
    config = compose(overrides(words))
    OmegaConf.resolve(config)
    return config


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_every_command_composes_and_passes_the_checks_that_need_no_gpu(command: str, words: str) -> None:
    config = composed(words)
    found = [check.check(config) for check in (batch, sampling, loss, settings, security)]
    assert [finding for findings in found for finding in findings] == []
    flags = [word for word in shlex.split(words) if word.startswith("--")]
    assert set(flags) <= {"train": {"--dry-run"}, "plan": {"--card"}, "doctor": set()}[command]
    if "--card" in flags:
        assert words.split("--card ")[1] in CARDS


def test_the_first_two_runs_differ_in_the_method_alone() -> None:
    first = [overrides(words) for command, words in COMMANDS if "total_training_steps=2" in words]
    assert len(first) == 2
    a, b = ({word for word in words if not word.startswith(("algo=", "trainer.experiment_name="))} for words in first)
    assert a == b
    assert {words[0] for words in first} == {"algo=grpo", "algo=tr_grpo"}


def test_every_override_that_the_text_names_composes() -> None:
    named = re.findall(r"`(\+?(?:actor_rollout_ref|data|trainer)\.[\w.]+=\S+?)`", TEXT)
    assert len(named) >= 6
    compose(["llm=qwen2_5_0_5b_instruct", "cluster=gpu_1", *named])


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        name, _, place = target.partition("#")
        page = (DOCS / name).read_text("utf-8")
        headings = {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in page.splitlines()}
        assert not place or f'id="{place}"' in page or place in headings, target
