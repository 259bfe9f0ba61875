"""The table of what runs of ``task=facts`` learned."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tr_grpo.analysis.search_lesson import EXACT_MATCH, SEARCHED, SEARCHES, table
from tr_grpo.data_prep.errors import InputError


def written(folder: Path, steps: dict[int, tuple[float, float, float] | None]) -> Path:
    folder.mkdir()
    lines = []
    for step, values in steps.items():
        data = dict(zip((EXACT_MATCH, SEARCHED, SEARCHES), values, strict=True)) if values else {"reward/acc": 0.5}
        lines.append(json.dumps({"step": step, "data": data}))
    (folder / "metrics-000.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_the_first_and_the_last_validation_are_shown(tmp_path: Path) -> None:
    run = written(tmp_path / "grpo", {0: (0.2, 0.25, 0.3), 1: None, 5: (0.5, 0.6, 0.8), 6: None, 10: (0.85, 0.99, 1.4)})
    out = io.StringIO()
    Console(file=out, width=200).print(table([run]))
    cells = [cell.strip() for cell in out.getvalue().splitlines()[-2].strip("│").split("│")]
    assert cells == ["grpo", "10", "20.0%", "85.0%", "25.0%", "99.0%", "0.30", "1.40"]


def test_a_run_without_two_validations_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"grpo: 1 validations of task=facts"):
        table([written(tmp_path / "grpo", {0: (0.2, 0.25, 0.3), 1: None})])
