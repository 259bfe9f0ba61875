"""Two evaluations are compared problem by problem, under the same conditions only."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tr_grpo.analysis.compare_command import compare
from tr_grpo.analysis.evaluate.samples import Sample, write_part
from tr_grpo.analysis.evaluation_comparison import compare_evaluations
from tr_grpo.data_prep.errors import InputError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(compare)
Verdicts = Mapping[str, Sequence[str]]


def sample(problem: str, number: int, verdict: str, greedy: bool = False) -> Sample:
    return Sample(
        problem=problem,
        data_source="sums",
        part="",
        sample=number,
        greedy=greedy,
        response="",
        prompt_tokens=1,
        tokens=1,
        truncated=False,
        verdict=verdict,
        score=0.0,
        format_ok=True,
        answer=None,
        failed_searches=0,
        measures="{}",
        trajectory=None,
        reason="",
        seconds=0.1,
    )


def evaluation(folder: Path, sampled: Verdicts, greedy: Mapping[str, str] | None = None, **record: Any) -> Path:
    """A folder of ``tr-grpo evaluate`` with these verdicts."""
    samples = [sample(name, i, verdict) for name, own in sampled.items() for i, verdict in enumerate(own)]
    samples += [sample(name, 0, verdict, True) for name, verdict in (greedy or {}).items()]
    (folder / "samples").mkdir(parents=True)
    write_part(folder / "samples" / "part-0001-000-000000.parquet", samples)
    count = max(map(len, sampled.values()), default=0)
    content = {
        "format": 1,
        "model": {"path": str(folder), "fingerprint": folder.name},
        "data": {str(folder / "test.parquet"): "digest"},
        "problems": len(sampled),
        "sampling": {"samples": count, "greedy": bool(greedy), "temperature": 1.0, "seed": 0},
    }
    (folder / "evaluation.json").write_text(json.dumps(content | record))
    return folder


GOOD = {"a": ["right", "right"], "b": ["right", "wrong"], "c": ["right", "right"], "d": ["wrong", "wrong"]}
POOR = {"a": ["right", "wrong"], "b": ["wrong", "wrong"], "c": ["right", "wrong"], "d": ["wrong", "wrong"]}


def test_each_problem_is_a_pair(tmp_path: Path) -> None:
    found = compare_evaluations([evaluation(tmp_path / "poor", POOR), evaluation(tmp_path / "good", GOOD)])
    assert found.accuracies == (0.25, 0.625)
    assert (found.problems, found.measure) == (4, "avg")
    assert found.difference.mean == pytest.approx(0.375)
    # Of the 16 patterns of the differences 1/2, 1/2, 1/2 and 0, four are as far from 0.
    assert found.difference.p == pytest.approx(4 / 16)
    assert "good is 37.5 points better than" in found.sentence
    assert "only several runs of each say something" in found.sentence


def test_without_samples_the_greedy_responses_are_compared(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "a", {}, {"a": "right", "b": "wrong"})
    other = evaluation(tmp_path / "b", GOOD, {"a": "wrong", "b": "wrong"})
    found = compare_evaluations([one, other])
    assert (found.measure, found.accuracies) == ("greedy", (0.5, 0.0))
    with pytest.raises(InputError, match="evaluate again"):
        compare_evaluations([one, evaluation(tmp_path / "c", GOOD)])


def test_what_was_not_scored_is_left_out_and_said(tmp_path: Path) -> None:
    broken = GOOD | {"a": ["error", "error"], "b": ["right", "error"]}
    found = compare_evaluations([evaluation(tmp_path / "poor", POOR), evaluation(tmp_path / "broken", broken)])
    assert found.problems == 3
    assert found.accuracies[1] == pytest.approx((1 + 1 + 0) / 3)
    assert any("poor: 1 problems left out" in note for note in found.notes)


def test_other_conditions_are_refused_unless_allowed(tmp_path: Path) -> None:
    hot = {"samples": 2, "greedy": False, "temperature": 1.5, "seed": 3}
    pair = [evaluation(tmp_path / "poor", POOR), evaluation(tmp_path / "good", GOOD, sampling=hot)]
    with pytest.raises(InputError, match=r"(?s)more than the model.*sampling.temperature: 1.0 in .*poor; 1.5 in"):
        compare_evaluations(pair)
    assert list(compare_evaluations(pair, ["sampling"]).allowed) == ["sampling.temperature"]


def test_the_same_data_may_lie_elsewhere_other_data_not(tmp_path: Path) -> None:
    poor = evaluation(tmp_path / "poor", POOR)
    with pytest.raises(InputError, match=r'data: \["digest"\] in .*; \["other"\]'):
        compare_evaluations([poor, evaluation(tmp_path / "good", GOOD, data={"x": "other"})])


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    poor = evaluation(tmp_path / "poor", POOR)
    other = evaluation(tmp_path / "other", {"x": ["right"], "y": ["right"]})
    for folders, message in (
        ([poor], "name two evaluations"),
        ([poor, tmp_path], "name two evaluations"),
        ([poor, poor], "the same evaluation twice"),
        ([poor, other], "0 scored problems in common"),
    ):
        with pytest.raises(InputError, match=message) as error:
            compare_evaluations(folders)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("style", ["text", "md", "json"])
def test_the_command_takes_evaluations(tmp_path: Path, style: str) -> None:
    pair = [evaluation(tmp_path / "poor", POOR), evaluation(tmp_path / "good", GOOD)]
    result = CliRunner().invoke(app, [*map(str, pair), "--format", style])
    assert result.exit_code == 0
    assert "37.5 points better" in result.output
    if style == "json":
        assert json.loads(result.output)["difference"]["mean"] == pytest.approx(0.375)


def test_options_of_runs_are_refused(tmp_path: Path) -> None:
    pair = [evaluation(tmp_path / "poor", POOR), evaluation(tmp_path / "good", GOOD)]
    result = CliRunner().invoke(app, [*map(str, pair), "--at", "best"])
    assert isinstance(result.exception, InputError)
