"""A run folder is read whatever state it is in; what cannot be read is named."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import Made, make_run

from tr_grpo.analysis import run_folder
from tr_grpo.analysis.run_folder import open_run, read_responses
from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import run_log

SHORT = Made("tr_grpo", steps=3, responses=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", SHORT)


def test_everything_that_was_written_is_read(folder: Path) -> None:
    run = open_run(folder)
    assert (run.name, run.algo, run.layout, run.steps, run.problems) == ("run", "tr_grpo", 1, 3, ())
    assert list(run.metrics) == [0, 1, 2, 3]
    assert list(run.rollouts) == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert {row.step for row in run.responses(2, 1)} == {2}
    (start,) = run.starts
    assert (start.status, start.findings[0]["code"], start.ledger["updates"]) == ("done", "TR404", 2)
    assert run.value("actor_rollout_ref.actor.policy_loss.tau") == 9.0
    assert run.value("actor_rollout_ref.actor.policy_loss.tau.x") is run.value("no.such.key") is None


def test_the_reader_knows_the_writers_layout() -> None:
    assert run_folder.LAYOUT == run_log.LAYOUT


def test_a_folder_of_the_time_before_events_is_read(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path / "old", Made(steps=3, layout=0)))
    assert (run.layout, run.starts, run.rollouts, run.problems) == (0, (), {}, ())
    assert run.steps == 3  # from the config


def test_a_newer_layout_is_refused(folder: Path) -> None:
    events = folder / "events.jsonl"
    events.write_text(events.read_text().replace('"layout": 1', '"layout": 2'))
    with pytest.raises(InputError, match=r"run: its layout is version 2, this version reads up to 1; update tr-grpo"):
        open_run(folder)


@pytest.mark.parametrize("name", ["metrics-000.jsonl", "events.jsonl", "config.yaml"])
@settings(max_examples=25, deadline=None)
@given(place=st.floats(0, 1))
def test_a_run_killed_at_any_byte_is_read(tmp_path_factory: pytest.TempPathFactory, name: str, place: float) -> None:
    """Each file is cut where a kill might cut it; what was whole before the cut is still there."""
    folder = make_run(tmp_path_factory.mktemp("cut") / "run", Made(steps=2, responses=0))
    whole = (folder / name).read_bytes()
    cut = round(place * len(whole))
    (folder / name).write_bytes(whole[:cut])
    run = open_run(folder)
    lines = whole[:cut].count(b"\n")
    if name == "metrics-000.jsonl":
        assert len(run.metrics) in (lines, lines + 1)
    if name == "events.jsonl":
        assert len(run.starts) in (min(lines, 1), 1)
        assert len(run.problems) <= 1


def test_a_start_after_a_kill_does_not_spoil_the_line_before(folder: Path) -> None:
    events = folder / "events.jsonl"
    start = json.loads(events.read_text().splitlines()[0])
    events.write_text(json.dumps(start)[:-40])
    run_log.append(folder, start | {"start": 1})
    run_log.append(folder, {"event": "end", "start": 1, "status": "done"})
    run = open_run(folder)
    assert [(s.number, s.status) for s in run.starts] == [(1, "done")]
    assert run.problems == (f"{events}: line 1 is cut short or not an event; it is left out",)


@pytest.mark.parametrize(
    "line", ["[1]", "77", '{"event": "start"}', '{"event": ["start"]}', '{"start": 1, "time": 1}', '"é']
)
def test_a_line_that_is_no_event_is_left_out_and_named(folder: Path, line: str) -> None:
    events = folder / "events.jsonl"
    # The last character is cut in two, as a kill may leave it.
    events.write_bytes(line.encode()[:-1] + b"\n" + events.read_bytes())
    run = open_run(folder)
    assert [start.status for start in run.starts] == ["done"]
    assert run.problems == (f"{events}: line 1 is cut short or not an event; it is left out",)


def test_metrics_cut_within_a_character_are_read(folder: Path) -> None:
    path = folder / "metrics-000.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + '{"step": 9, "data": {"é'.encode()[:-1])
    assert list(open_run(folder).metrics) == [0, 1, 2, 3]


def test_what_is_missing_is_named(folder: Path) -> None:
    (folder / "config.yaml").write_text("a: [")
    (folder / "metrics-000.jsonl").write_text("")
    steps, config = sorted(open_run(folder).problems, key=len)
    assert steps == f"{folder}: no step was finished"
    assert config.startswith(f"{folder}/config.yaml: not YAML")
    (folder / "config.yaml").unlink()
    assert any("config.yaml: not there" in problem for problem in open_run(folder).problems)


def test_starts_of_different_versions_are_told(folder: Path) -> None:
    events = folder / "events.jsonl"
    start = json.loads(events.read_text().splitlines()[0])
    start |= {"start": 1, "versions": start["versions"] | {"torch": "2.12.0"}}
    run_log.append(folder, start)
    assert open_run(folder).problems == (f"{folder}: its starts ran with different versions of torch",)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent: no such run folder"):
        open_run(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no metrics-\*\.jsonl in it"):
        open_run(tmp_path)


def test_a_foreign_file_of_responses_is_refused(folder: Path) -> None:
    path = folder / "rollouts" / "step-000001-update-00.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"step-000001-update-00\.parquet: not a file of recorded responses"):
        read_responses(path)


@pytest.mark.parametrize(
    "line", ["[1]", "7", "null", '{"step": 1}', '{"step": "one", "data": {}}', '{"data": {}}', "{"]
)
def test_a_line_of_metrics_that_is_none_is_named(folder: Path, line: str) -> None:
    path = folder / "metrics-000.jsonl"
    whole = path.read_text().splitlines()
    path.write_text("\n".join([whole[0], line, *whole[1:]]) + "\n")
    with pytest.raises(InputError, match=r"metrics-000\.jsonl: line 2 is not"):
        open_run(folder)
    path.write_text("\n".join([*whole, line]))  # the last line may have been cut short
    assert len(open_run(folder).metrics) == len(whole)
