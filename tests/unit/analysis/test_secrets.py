"""A run folder that holds a secret all the same, written by another version or tool: nothing made of it shows it."""

import json
from pathlib import Path

import pytest
import yaml
from synthetic import Made, make_run
from typer.testing import CliRunner

from tr_grpo.analysis.run_folder import open_run
from tr_grpo.trainer.cli import app

CANARY = "hf_canaryOfAnOldRun0123456789"


@pytest.fixture
def leaky(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs that differ; each has the secret in its config, on its command line, and in how it ended."""
    folders = []
    for name, algo in (("one", "grpo"), ("two", "tr_grpo")):
        folder = make_run(tmp_path / name, Made(algo=algo, steps=3))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["trainer"] |= {"hub": f"{CANARY}{name}", "api_key": f"canary {name}"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        for event in events:
            event["message"] = f"401 for {CANARY}"
            event["overrides"] = [f"+trainer.hub={CANARY}", "+trainer.api_key=canary"]
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        folders.append(folder)
    return folders[0], folders[1]


def test_what_is_read_of_a_run_holds_no_secret(leaky: tuple[Path, Path]) -> None:
    run = open_run(leaky[0])
    assert run.problems == ()
    assert "canary" not in repr(run).lower()
    assert run.config["trainer"]["api_key"] == "[redacted]"
    assert run.starts[0].overrides == ("+trainer.hub=[redacted]", "+trainer.api_key=[redacted]")


@pytest.mark.parametrize("command", ["report", "watch", "compare"])
def test_no_command_shows_it(leaky: tuple[Path, Path], tmp_path: Path, command: str) -> None:
    page = tmp_path / "page.html"
    words = {
        "report": ["report", *map(str, leaky), "--out", str(page)],
        "watch": ["watch", str(leaky[0]), "--once"],
        "compare": ["compare", *map(str, leaky)],
    }[command]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 or command == "compare", done.output
    assert "canary" not in (done.output + str(done.exception)).lower()
    assert not page.exists() or "canary" not in page.read_text().lower()
    assert page.exists() == (command == "report")
