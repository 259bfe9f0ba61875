"""The view of a run: whole, partial, hostile; following a file; the command's output and status."""

import io
import json
import os
import re
import select
import subprocess
import sys
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from synthetic import Made, Metrics, response, write_responses
from typer.testing import CliRunner
from watching import line, plain, short

from tr_grpo.analysis.health import check
from tr_grpo.analysis.run_folder import Run, open_run
from tr_grpo.analysis.terminal import BLOCKS, sparkline, visible
from tr_grpo.analysis.watch import last_sample, view
from tr_grpo.analysis.watch_command import watch
from tr_grpo.data_prep.errors import InputError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(watch)
HOSTILE = (
    "\x1b]0;owned\x07",  # OSC: the title
    "\x1b[2J\x1b[31m",  # CSI: clear, red
    "\x9b31m\x9d0;owned\x9c",  # C1: CSI, OSC, ST
    "\x1bP+q\x1b\\",  # DCS
    "\x1b]52;c;b3duZWQ=\x07",  # OSC 52: the clipboard
    "\r\x08\x00\x7f",
    "\u202egnp.exe\u200b\u2066",  # bidirectional overrides, zero width
    "[bold red]markup[/bold red][link=x]y[/link]:smile:",
)


def drawn(run: Run, width: int = 80) -> str:
    """The view as a colour terminal would get it."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system="truecolor", highlight=False)
    console.print(view(run, check(run), last_sample(run), width))
    return out.getvalue()


def printed(*words: str | Path) -> tuple[str, int]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output, result.exit_code


def test_the_view_has_every_part(tmp_path: Path) -> None:
    text = plain(open_run(short(tmp_path / "my_run")))
    for part in (
        "my_run  tr_grpo · knights_knaves · tiny  done",
        "step 12 of 12",
        *("reward", "test knights_kn", "length", "entropy", "gradient norm", "clipped", "weight", "tokens a second"),
        *("right", "wrong", "malformed"),
        "device 1.2 GB, host 8.0 GB",
        "no warnings",
        "last response: step 12",
        "word29",
    ):
        assert part in text, part
    assert any(block in text for block in BLOCKS[1:])


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_longer_than_the_terminal(tmp_path: Path, width: int) -> None:
    run = open_run(short(tmp_path / ("long_name_" * 10), change=lambda _, metrics: metrics | {"reward/overlong": 1.0}))
    lines = plain(run, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("TR802" in line for line in lines)


def test_the_last_value_stands_beside_each_curve(tmp_path: Path) -> None:
    run = open_run(short(tmp_path / "r", change=lambda step, metrics: metrics | {"actor/entropy": step / 1000}))
    (line,) = [line for line in plain(run).splitlines() if line.startswith("entropy")]
    assert line.split()[-1] == "0.012"


@pytest.mark.parametrize("missing", ["actor/", "reward/", "critic/", "timing_s/", "perf/", "val-core/", "response_"])
def test_missing_keys_leave_the_rest(tmp_path: Path, missing: str) -> None:
    def drop(_: int, metrics: Metrics) -> Metrics:
        return {key: value for key, value in metrics.items() if not key.startswith(missing)}

    text = plain(open_run(short(tmp_path / "r", change=drop)))
    assert "step 12 of 12" in text
    assert "last response" in text


@pytest.mark.parametrize("steps", [0, 1])
def test_no_step_or_one_is_shown(tmp_path: Path, steps: int) -> None:
    assert f"step {steps}" in plain(open_run(short(tmp_path / "r", steps=steps)))


def test_a_run_without_events_config_and_responses_is_shown(tmp_path: Path) -> None:
    folder = short(tmp_path / "r", layout=0)
    (folder / "config.yaml").unlink()
    text = plain(open_run(folder))
    assert "r  ? · ? · ?  unknown" in text
    assert "config.yaml:notthere" in "".join(text.split())  # a long path is broken anywhere
    assert "no response was recorded" in text


def test_what_is_not_a_number_is_shown_and_named(tmp_path: Path) -> None:
    run = open_run(short(tmp_path / "r", change=lambda _, metrics: metrics | {"critic/score/mean": nan}))
    assert "TR810" in plain(run)


def test_mixed_versions_are_noted(tmp_path: Path) -> None:
    folder = short(tmp_path / "r")
    start = json.loads((folder / "events.jsonl").read_text().splitlines()[0])
    again = start | {"start": 1, "versions": start["versions"] | {"verl": "0.9.2"}}
    with (folder / "events.jsonl").open("a") as events:
        events.write(json.dumps(again) + "\n")
    assert "different versions of verl" in " ".join(plain(open_run(folder)).split())


# A model's output, and every string of a run that somebody else made.


def steers(text: str) -> list[str]:
    """Characters that are neither shown nor a line feed, once rich's own colour sequences are taken out."""
    rest = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return [character for character in rest if not character.isprintable() and character != "\n"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_string_of_a_run_steers_the_terminal(tmp_path: Path, text: str) -> None:
    # None of them in a file's name: that of a folder is given by the user.
    settings = {"group.task": text, "group.llm": text, "group.algo": text}
    change = {f"reward/verdict_{text}": 0.5, f"val-core/{text}/acc/mean@1": 0.5, f"actor/{text}": nan}
    folder = short(tmp_path / "r", settings=settings, responses=0, change=lambda _, own: own | change)
    row = response(Made(), 12, 0, 0, tokens=[text, f"{text} the end"])
    write_responses(folder, 12, 0, [row | {"prompt": text, "verdict": text}])
    run = open_run(folder)
    run = replace(run, problems=(text,), starts=(replace(run.starts[-1], status="failed", message=text),))
    coloured = drawn(run)
    assert "the end" in coloured
    assert steers(coloured) == []
    # And none of rich's sequences is ours: without colours there is none at all.
    assert "\x1b" not in plain(run)
    if "markup" in text:
        assert "[bold red]markup[/bold red]" in coloured


@given(st.text())
@example("\x1b[31m\x9b\u2028\ud800")
def test_visible_text_has_no_control_character_and_keeps_the_others(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & {*map(chr, range(10)), *map(chr, range(11, 32)), *map(chr, range(127, 160))}
    safe = "".join(character for character in text if visible(character) == character)
    remaining = iter(shown)
    assert all(character in remaining for character in safe)


def test_visible_writes_the_code() -> None:
    assert visible("a\x1b[1m\x9b\u202e\U000e0001\n") == "a\\x1b[1m\\x9b\\u202e\\U000e0001\n"
    assert visible("Größe 知 🙂") == "Größe 知 🙂"


@given(st.lists(st.floats(), max_size=50), st.integers(1, 40))
def test_a_sparkline_fits_and_has_its_ends(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    assert set(line) <= {*BLOCKS, " "}


def test_a_sparkline_rises_with_its_values() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == BLOCKS
    assert sparkline([8, 1], 8) == "█▁"
    assert sparkline([3, 3, 3], 8) == "▁▁▁"
    assert sparkline([0, nan, 1], 8) == "▁ █"
    assert sparkline([0, 0, 4, 4], 2) == "▁█"


# The command.


def test_once_prints_and_exits(tmp_path: Path) -> None:
    text, status = printed(short(tmp_path / "r"), "--once")
    assert status == 0
    assert "step 12 of 12" in text
    assert "\x1b" not in text


def test_a_pipe_gets_one_view_without_colours_even_of_a_running_run(tmp_path: Path) -> None:
    folder = short(tmp_path / "r")
    events = (folder / "events.jsonl").read_text().splitlines()
    start = json.loads(events[0]) | {"machine": {"host": "elsewhere"}}
    (folder / "events.jsonl").write_text(json.dumps(start) + "\n")
    code = "import typer; from tr_grpo.analysis.watch_command import watch; typer.run(watch)"
    # As a script in a locale without Unicode would call it.
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "60", "TERM": "xterm-256color"},
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"step 12 of 12") == 1
    assert b"\x1b" not in done.stdout


def test_strict_tells_a_script_of_warnings(tmp_path: Path) -> None:
    sound = short(tmp_path / "sound")
    faulty = short(tmp_path / "faulty", change=lambda _, metrics: metrics | {"reward/overlong": 1.0})
    assert [printed(folder, "--once", "--strict")[1] for folder in (sound, faulty)] == [0, 1]
    assert printed(faulty, "--once")[1] == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.rename(folder.with_name("moved")), "no such run folder"),
        (lambda folder: [path.unlink() for path in folder.glob("*.jsonl")], r"no metrics-\*.jsonl"),
        (lambda folder: (folder / "metrics-000.jsonl").write_text("{\n{}\n"), "line 1 is not JSON"),
    ],
)
def test_bad_runs_are_one_line(tmp_path: Path, spoil: Any, message: str) -> None:
    folder = short(tmp_path / "r")
    spoil(folder)
    with pytest.raises(InputError, match=message) as error:
        printed(folder, "--once")
    assert "\n" not in str(error.value)


def test_an_empty_metrics_file_is_a_run_without_a_step(tmp_path: Path) -> None:
    folder = short(tmp_path / "r", responses=0)
    (folder / "metrics-000.jsonl").write_text("")
    text, status = printed(folder, "--once")
    assert status == 0
    assert "no step was finished" in " ".join(text.split())


def test_a_last_line_cut_short_is_no_fault(tmp_path: Path) -> None:
    folder = short(tmp_path / "r")
    with (folder / "metrics-000.jsonl").open("a") as metrics:
        metrics.write('{"step": 13, "da')
    text, status = printed(folder, "--once", "--strict")
    assert status == 0
    assert "step 12 of 12" in text


def test_live_shows_what_is_added_and_ends_with_the_run(tmp_path: Path) -> None:
    """In a terminal of its own, as a user has it."""
    import pty

    folder = short(tmp_path / "r", steps=3, layout=1)
    started_line, ended_line = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    begun = json.loads(started_line) | {"machine": {"host": "elsewhere"}, "steps": 9}
    (folder / "events.jsonl").write_text(json.dumps(begun) + "\n")
    code = "import typer; from tr_grpo.analysis.watch_command import watch; typer.run(watch)"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), "--every", "0.2"],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "50"},
    )
    os.close(theirs)
    seen = ""

    def wait_for(text: str) -> None:
        nonlocal seen
        while text not in seen:
            # Long for any machine: a view that never comes fails instead of hanging.
            assert select.select([ours], [], [], 100)[0], f"no {text!r} in {seen[-500:]!r}"
            seen += os.read(ours, 65536).decode(errors="replace")

    try:
        wait_for("step 3 of 9")
        with (folder / "metrics-000.jsonl").open("a") as metrics:
            metrics.write(line(4, x=1.0))
        wait_for("step 4 of 9")
        with (folder / "events.jsonl").open("a") as events:
            events.write(ended_line)
        wait_for("done")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
