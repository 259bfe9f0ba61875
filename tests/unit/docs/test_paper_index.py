"""docs/paper_index.md: every command composes, every paper that is asked for is there, every link's anchor too."""

import re
import shlex
from pathlib import Path

import pytest
from scipy.stats import binomtest

from tr_grpo.trainer.compose import compose

PAGE = Path(__file__).parents[3] / "docs" / "paper_index.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^tr-grpo train (.*)$", TEXT, re.MULTILINE)
PAPERS = ("TR-GRPO", "AR-Lopti", "Logic-RL", "Search-R1", "VerlTool", "DeepScaleR", "DAPO", "Dr. GRPO", "GSPO")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str) -> None:
    config = compose(shlex.split(command))
    asked = dict(word.split("=", 1) for word in shlex.split(command))
    assert {name: config.group[name] for name in ("algo", "task", "llm", "cluster")} == {
        name: asked[name] for name in ("algo", "task", "llm", "cluster")
    }


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_has_its_formula_command_numbers_and_caveats(paper: str) -> None:
    section = re.split(rf"^## {re.escape(paper)}$", TEXT, flags=re.MULTILINE)[1].split("\n## ")[0]
    for part in ("**Ours.**", "**Caveats.**", "```bash\ntr-grpo train ", "eported"):
        assert part in section, part
    assert "**Formula.**" in section or "GRPO on" in section


def test_the_interval_that_is_quoted_is_wilsons() -> None:
    interval = binomtest(13, 30).proportion_ci(method="wilson")
    assert (round(100 * interval.low), round(100 * interval.high)) == (27, 61)
    assert "27 to 61 %" in TEXT
