"""docs/multi_node.md: every command of it is one, every link leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from tr_grpo.trainer.launch.command import app
from tr_grpo.trainer.launch.job import make

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "multi_node.md").read_text()
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", " ")
COMMANDS = [line.partition("  # ")[0].partition("   #")[0].strip() for line in SHELL.splitlines() if " launch " in line]


def test_there_is_a_command_for_every_launcher() -> None:
    assert {shlex.split(command)[2] for command in COMMANDS} == {"slurm", "ssh", "ray", "kubernetes", "skypilot"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood_and_its_words_compose(command: str) -> None:
    _, _, launcher, *words = shlex.split(command)
    group = typer.main.get_command(app)
    context = group.commands[launcher].make_context(launcher, words)  # type: ignore[attr-defined]
    make([word for word in context.params["words"] if word != "…"])


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        file = ROOT / "docs" / name if name else ROOT / "docs" / "multi_node.md"
        assert file.is_file(), link
        text = file.read_text()
        titles = {
            re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
            for title in re.findall(r"^#+ (.*)", text, re.M)
        }
        assert not anchor or anchor in titles or f'id="{anchor}"' in text or f'name="{anchor}"' in text, link


def test_every_file_that_is_named_is_there() -> None:
    for path in re.findall(r"`((?:scripts|tests)/[\w/.]+)", TEXT):
        assert (ROOT / path).is_file(), path
