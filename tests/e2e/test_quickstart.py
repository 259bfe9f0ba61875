"""The quick start, two steps an algorithm: what the README's first command does after the set-up."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tr_grpo.analysis import quickstart as quick
from tr_grpo.analysis.run_folder import open_run
from tr_grpo.data_prep.knights_knaves import DatasetConfig, build_dataset
from tr_grpo.data_prep.schema import read_rows

pytestmark = pytest.mark.e2e


def page(outputs: Path) -> str:
    return (outputs / "report.html").read_text(encoding="utf-8")


def quickstart(outputs: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tr_grpo.analysis.quickstart", "--outputs", str(outputs), "--steps", "2"]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def test_quickstart_writes_summary_and_picture_and_is_done_the_second_time(tmp_path: Path) -> None:
    outputs = tmp_path / "quick start"
    first = quickstart(outputs)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    summary = json.loads((outputs / "summary.json").read_text())
    for name in ("grpo", "tr_grpo"):
        assert 0.0 < summary[name]["accuracy_before"] < 0.6
        assert 0.0 <= summary[name]["accuracy_after"] <= 1.0
        assert summary[name]["steps"] == 2
    # Both start from the same model, greedily: the same accuracy.
    assert summary["grpo"]["accuracy_before"] == summary["tr_grpo"]["accuracy_before"]
    assert summary["grpo"]["weight_mean"] == 1.0 < summary["tr_grpo"]["weight_mean"] <= 1.4
    assert (outputs / "curves.png").read_bytes().startswith(b"\x89PNG")
    # It ends with the report, in which both runs' responses are shown token by token.
    assert first.stdout.rstrip().endswith(str(outputs / "report.html"))
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page(outputs), re.S)[1])
    assert len(open_run(outputs / "grpo").rollouts) == len(open_run(outputs / "tr_grpo").rollouts) >= 2
    assert data

    logs = {path: path.stat().st_size for path in outputs.glob("*.log")}
    second = quickstart(outputs)
    assert second.returncode == 0
    assert second.stdout.count("already trained") == 2
    assert logs == {path: path.stat().st_size for path in outputs.glob("*.log")}, "it must not have trained again"


def test_held_out_forms_were_not_seen_by_the_tiny_model(tmp_path: Path) -> None:
    """Rebuilds the model's training data (docs/tiny_model.md); the quick start tests none of its logical forms."""
    held_out = {2: 16, 3: 200}
    for people, test in quick.TEST_PUZZLES.items():
        for name, train, count in (("model", 4000, held_out[people]), ("quick", quick.TRAIN_PUZZLES, test)):
            build_dataset(
                DatasetConfig(tmp_path / f"{name}{people}", (people,), train, count, quick.SEED, quick.PUZZLES)
            )
        seen = {row["extra_info"]["form"] for row in read_rows(tmp_path / f"model{people}/train.parquet")}
        tested = {row["extra_info"]["form"] for row in read_rows(tmp_path / f"quick{people}/test.parquet")}
        assert tested
        assert not tested & seen
