"""What each start of a run writes about itself."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.events import EVENTS
from tr_grpo.trainer.preflight.finding import warning
from tr_grpo.trainer.run_log import LAYOUT, code_version, logged, machine, planned_steps, versions


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / EVENTS).read_text().splitlines()]


def run(folder: Path, error: BaseException | None = None) -> None:
    config = compose(["trainer.total_training_steps=7"])
    with logged(folder, 2, "abcde", ["algo=grpo"], config, [warning("TR999", "a message", "a fix")]):
        if error is not None:
            raise error


def test_a_start_tells_what_it_is_and_how_it_ended(tmp_path: Path) -> None:
    run(tmp_path)
    start, end = events(tmp_path)
    assert (start["event"], start["layout"], start["start"], start["steps"]) == ("start", LAYOUT, 2, 7)
    assert start["overrides"] == ["algo=grpo"]
    assert start["findings"] == [{"code": "TR999", "severity": "warning", "message": "a message", "fix": "a fix"}]
    assert start["ledger"]["responses"] == start["ledger"]["prompts"] * start["ledger"]["responses_per_prompt"]
    assert start["time"] <= end["time"]
    assert (end["event"], end["start"], end["status"], end["message"]) == ("end", 2, "done", "")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), "interrupted", ""),
        (RuntimeError("no room"), "failed", "RuntimeError: no room"),
        (SystemExit(3), "failed", "SystemExit: 3"),
    ],
)
def test_a_failure_is_told_and_goes_on(tmp_path: Path, error: BaseException, status: str, message: str) -> None:
    with pytest.raises(type(error)):
        run(tmp_path, error)
    end = events(tmp_path)[-1]
    assert (end["status"], end["message"]) == (status, message)


def test_steps_are_counted_from_epochs_where_they_are_not_told(tmp_path: Path) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file, rows in zip(files, (13, 9), strict=True):
        pq.write_table(pa.table({"x": list(range(rows))}), file)
    options = ["trainer.total_training_steps=null", "data.train_batch_size=4", "trainer.total_epochs=3"]
    config = compose([*options, f"data.train_files=[{files[0]},{files[1]}]"])
    assert planned_steps(config) == 15  # 22 rows: 5 whole batches, 3 times
    assert planned_steps(compose([*options, "data.train_files=[rows.json]"])) is None
    assert planned_steps(compose(["trainer.total_training_steps=7"])) == 7


def test_versions_machine_and_commit_are_those_of_this_process() -> None:
    import torch

    assert versions()["torch"] == torch.__version__.partition("+")[0]
    found = machine("cpu")
    assert found["gpus"] == []
    assert found["cores"] >= 1
    commit = code_version()["commit"]
    assert commit is None or len(commit) == 40
