"""docs/evaluate.md: its commands parse, and every column of the table is described."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from omegaconf import OmegaConf

from tr_grpo.analysis.evaluate.render import FORMATS
from tr_grpo.trainer.cli import app
from tr_grpo.trainer.compose import compose

TEXT = (Path(__file__).parents[4] / "docs" / "evaluate.md").read_text(encoding="utf-8")
COMMANDS = [line for line in TEXT.partition("```bash\n")[2].partition("```")[0].splitlines() if line]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses_and_its_overrides_compose(line: str) -> None:
    program, name, *words = shlex.split(line, comments=True)
    assert (program, name) == ("tr-grpo", "evaluate")
    group = typer.main.get_command(app)
    command = group.get_command(None, "evaluate")  # type: ignore[attr-defined]
    context = command.make_context(name, words)
    overrides = context.params["overrides"] or []
    if overrides:
        assert OmegaConf.select(compose(overrides), "reward.reward_kwargs.scorer")
    assert context.params["style"] in FORMATS


def test_every_option_that_is_named_exists() -> None:
    group = typer.main.get_command(app)
    command = group.get_command(None, "evaluate")  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= known
