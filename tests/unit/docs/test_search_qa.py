"""docs/search_qa.md says what the presets are: every row of its tables is compared with the composed config."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tr_grpo.reward.scorers import load_scorer
from tr_grpo.trainer.compose import compose

TEXT = (Path(__file__).parents[3] / "docs" / "search_qa.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| `((?:\w+\.)+\w+)` \| ([^|]+) \|$", re.MULTILINE)


def value(text: str) -> object:
    """A cell as YAML reads it, and 1e-6 as a number."""
    try:
        return float(text)
    except ValueError:
        return {"true": True, "false": False}.get(text, text)


@pytest.mark.parametrize(("task", "rows"), [("search_qa_r1", 21), ("search_qa_verltool", 21)])
def test_presets_are_the_tables(task: str, rows: int) -> None:
    section = TEXT.split(f"and `task={task}`", 1)[1].split("\n## ")[0].split("\n### ")[0]
    found = ROW.findall(section)
    assert len(found) == rows
    config = compose([f"task={task}", "llm=base_model", "cluster=node_8x80gb"])
    for key, cell in found:
        assert OmegaConf.select(config, key) == value(cell.strip()), key


def test_every_rule_of_the_scorer_is_described() -> None:
    table = TEXT.split("| `reward_kwargs.rule`", 1)[1].split("\n\n")[0]
    rules = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert rules == set(load_scorer("tr_grpo.reward.search_qa").RULES)


def test_every_measure_is_described() -> None:
    scorer = load_scorer("tr_grpo.reward.search_qa")
    solution = scorer.parse_solution("London")
    judgement = scorer.judge("<answer>London</answer>", solution)
    described = set(re.findall(r"`(\w+)`", TEXT.split("## Metrics", 1)[1].split("\n## ")[0]))
    assert set(scorer.measure(solution, judgement, None)) <= described
