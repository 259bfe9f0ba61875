"""docs/search_qa_data.md says what the scorer and the command do: its tables of verdicts, sources and templates."""

import re
from pathlib import Path

import pytest

from tr_grpo.data_prep.search_qa import SOURCES, TEMPLATES
from tr_grpo.reward.search_qa import judge, parse_solution
from tr_grpo.reward.trajectory import End, Trajectory
from tr_grpo.reward.verdict import Verdict

TEXT = (Path(__file__).parents[3] / "docs" / "search_qa_data.md").read_text(encoding="utf-8")


def rows(head: str) -> list[list[str]]:
    """The cells, without code marks, of the one table whose header line is ``head``."""
    assert TEXT.count(f"\n{head}\n") == 1
    table = TEXT.partition(f"\n{head}\n")[2].partition("\n\n")[0]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


@pytest.mark.parametrize("row", rows("| last turn, for the answer `Paris` | verdict |"), ids=lambda row: row[0])
def test_the_answer_is_read_as_the_document_says(row: list[str]) -> None:
    turn, verdict = row
    solution = parse_solution("Paris")
    assert judge(turn, solution).verdict is Verdict(verdict)
    if "<information>" not in turn:  # with a trajectory, a passage is no part of a turn
        told = Trajectory((turn,), (), 0, 0, 0, 0, End.STOPPED)
        assert judge("", solution, trajectory=told).verdict is Verdict(verdict)


def test_the_sources_and_their_counts_are_the_tables() -> None:
    found = {name: (train, test) for name, _, train, test in rows("| `--source` | hub | train | test |")}
    for name, source in SOURCES.items():
        counts = {
            part.to: f"{part.rows:,}" + " (its dev split)" * (part.name == "dev") for part in source.splits if part.rows
        }
        assert found.pop(name) == (counts.get("train", ""), counts.get("test", "")), name
    assert not found


def test_the_templates_and_their_loops_are_the_tables() -> None:
    found = dict(re.findall(r"^\| `--template (\w+)` \|.*`(\w+)`", TEXT, re.MULTILINE))
    assert found == {name: template.agent for name, template in TEMPLATES.items()}
