"""Bad and partial runs, formats and the command."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import Made, Metrics, make_run
from typer.testing import CliRunner

from tr_grpo.analysis.report.command import report
from tr_grpo.analysis.report.data import page_data
from tr_grpo.analysis.report.formats import cell, write
from tr_grpo.analysis.report.reading import cut_line, labels, read_records
from tr_grpo.data_prep.errors import InputError

app = typer.Typer()
app.command()(report)


def data_of(*folders: Path) -> dict:
    return page_data(read_records(folders))


@pytest.mark.parametrize("form", ["html", "md", "json", "csv"])
def test_no_run_is_one_line_and_nothing_is_written(tmp_path: Path, form: str) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"empty: no metrics-\*\.jsonl in it"):
        write([tmp_path / "empty"], out, form)
    with pytest.raises(InputError, match=r"nothing: no such run folder"):
        write([tmp_path / "nothing"], out, form)
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_run_named_twice_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Made(steps=1))
    with pytest.raises(InputError, match="named twice"):
        read_records([run, tmp_path / "." / "run"])


def test_a_run_that_was_killed_before_its_first_step_shows_what_there_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Made(steps=1, responses=0))
    (run / "metrics-000.jsonl").write_text("")
    data = data_of(run)
    assert "no step was finished" in data["headline"]
    assert any("no step was finished" in line for line in data["problems"])
    assert data["ledger"]["rows"]
    assert data["findings"]
    assert not any(chart["series"] for chart in data["charts"])


def test_one_step_is_enough(tmp_path: Path) -> None:
    data = data_of(make_run(tmp_path / "run", Made(steps=1)))
    assert not data["problems"]
    assert "1 step:" in data["headline"]
    reward = next(chart for chart in data["charts"] if chart["key"] == "critic/score/mean")
    assert reward["series"][0]["steps"] == [1]


def test_a_missing_metric_is_named_by_its_chart_and_the_others_are_drawn(tmp_path: Path) -> None:
    def without(step: int, metrics: Metrics) -> Metrics:
        return {key: value for key, value in metrics.items() if not key.startswith(("actor/entropy", "val-core"))}

    charts = {
        chart["key"]: chart for chart in data_of(make_run(tmp_path / "run", Made(steps=3, change=without)))["charts"]
    }
    assert charts["actor/entropy"]["series"] == []
    assert charts["val-core/…"]["series"] == []
    assert charts["actor/grad_norm"]["series"]


def test_a_line_cut_short_is_said_and_its_step_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Made(steps=4))
    path = run / "metrics-000.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    data = data_of(run)
    assert [line for line in data["problems"] if "metrics-000.jsonl: its last line was cut short" in line]
    assert "3 steps" in data["headline"]


@pytest.mark.parametrize(
    ("content", "cut"),
    [
        (b"", False),
        (b'{"a": 1}', False),
        (b'{"a": 1}\n', False),
        (b'{"a": 1}\n{"b', True),
        (b'{"' + b"x" * 300_000, True),
    ],
)
def test_a_cut_line_is_told_from_a_whole_one(tmp_path: Path, content: bytes, cut: bool) -> None:
    path = tmp_path / "metrics-000.jsonl"
    path.write_bytes(content)
    assert bool(cut_line(path)) is cut


def test_a_value_that_is_no_number_is_named_and_leaves_a_gap(tmp_path: Path) -> None:
    def broken(step: int, metrics: Metrics) -> Metrics:
        return metrics | ({"actor/grad_norm": float("nan")} if step in (2, 3) else {})

    data = data_of(make_run(tmp_path / "run", Made(steps=4, change=broken)))
    assert [line for line in data["problems"] if "actor/grad_norm is no finite number at step 2 and 1 others" in line]
    norm = next(chart for chart in data["charts"] if chart["key"] == "actor/grad_norm")
    assert norm["series"][0]["steps"] == [1, 4]


def test_mixed_versions_are_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Made(steps=2))
    first = json.loads((run / "events.jsonl").read_text().splitlines()[0])
    again = first | {"start": 1, "versions": first["versions"] | {"torch": "2.12.0"}}
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(again) + "\n")
    assert any("different versions of torch" in line for line in data_of(run)["problems"])


def test_a_run_of_the_older_layout_says_what_is_not_there(tmp_path: Path) -> None:
    data = data_of(make_run(tmp_path / "old", Made(layout=0, steps=3)))
    assert data["without_events"] == ["old"]
    assert (data["findings"], data["machine"]["rows"], data["tokens"]["recorded"]) == ([], [], 0)


def test_a_run_without_a_config_stands_alone(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, Made(seed=i, steps=2)) for i, name in enumerate("abc")]
    (runs[1] / "config.yaml").unlink()
    data = data_of(*runs)
    assert [(method["label"], method["runs"]) for method in data["methods"]] == [("grpo", ["a", "c"]), ("b", ["b"])]
    assert any("config.yaml: not there" in line for line in data["problems"])
    assert "1 runs have no config" in data["settings"]["said"]


def test_runs_that_differ_in_more_than_the_seed_are_not_one_band(tmp_path: Path) -> None:
    key = "actor_rollout_ref.actor.optim.lr"
    runs = [make_run(tmp_path / f"lr{i}", Made(steps=2, settings={key: rate})) for i, rate in enumerate((1e-4, 2e-4))]
    data = data_of(*runs)
    assert [method["label"] for method in data["methods"]] == ["grpo (lr=0.0001)", "grpo (lr=0.0002)"]
    assert "1 settings differ" in data["settings"]["said"]


def test_two_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    assert labels([tmp_path / "a" / "run", tmp_path / "b" / "run"]) == ["a/run", "b/run"]
    assert labels([tmp_path / "a" / "run"]) == ["run"]


def test_csv_has_every_metric_of_every_run(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / algo, Made(algo=algo, steps=3)) for algo in ("grpo", "tr_grpo")]
    write(runs, tmp_path / "out.csv", "csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    lines = [json.loads(line) for run in runs for line in (run / "metrics-000.jsonl").read_text().splitlines()]
    assert len(rows) == sum(len(line["data"]) for line in lines)
    assert {row["algo"] for row in rows} == {"grpo", "tr_grpo"}
    (row,) = [row for row in rows if (row["run"], row["step"], row["key"]) == ("grpo", "2", "actor/grad_norm")]
    assert float(row["value"]) == lines[2]["data"]["actor/grad_norm"]


def test_markdown_gives_first_last_and_mean_of_each_run_and_of_the_seeds(tmp_path: Path) -> None:
    def linear(step: int, metrics: Metrics) -> Metrics:
        return metrics | ({"critic/score/mean": float(step)} if step else {})

    runs = [make_run(tmp_path / f"s{seed}", Made(seed=seed, steps=5, change=linear)) for seed in (0, 1)]
    write(runs, tmp_path / "out.md", "md")
    text = (tmp_path / "out.md").read_text()
    assert "| grpo | s1 | critic/score/mean | 1 | 5 | 3 | 5 |" in text
    assert "| grpo | mean of 2 seeds | critic/score/mean | 1 | 5 | 3 | 5 |" in text
    assert "| grpo | – | actor/tr/mass\\_p" not in text


@pytest.mark.parametrize(
    ("text", "shown"), [("a|b", "a\\|b"), ("<b>", "&#60;b&#62;"), ("\u202e\x00\ud800", "⟨U+202E⟩⟨U+0000⟩⟨U+D800⟩")]
)
def test_a_cell_of_markdown_is_text(text: str, shown: str) -> None:
    assert cell(text) == shown


def test_the_command_prints_the_path_and_says_the_problems(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Made(steps=2))
    result = CliRunner().invoke(app, [str(run)])
    assert (result.exit_code, result.stdout.strip()) == (0, str(run / "report.html"))
    (run / "config.yaml").unlink()
    out = tmp_path / "new" / "page.json"
    result = CliRunner().invoke(app, [str(run), "--format", "json", "--out", str(out)])
    assert "config.yaml: not there" in result.stderr
    assert json.loads(out.read_text())["runs"] == ["run"]
    assert isinstance(CliRunner().invoke(app, [str(run), "--out", str(tmp_path)]).exception, InputError)
    assert isinstance(CliRunner().invoke(app, [str(tmp_path / "gone")]).exception, InputError)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("whole") / "run", Made(algo="tr_grpo", steps=3, tokens=5))


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_killed_at_any_byte_is_shown_or_refused_in_one_line(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "run"
    shutil.copytree(whole, folder)
    path = data.draw(st.sampled_from(sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())))
    content = (folder / path).read_bytes()
    (folder / path).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    refusal = ""
    try:
        write([folder], folder / "report.html", "html")
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert str(folder) in refusal
    else:
        assert (folder / "report.html").stat().st_size > 50_000
