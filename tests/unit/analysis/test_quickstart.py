"""Reading a run, and the quick start's own parts."""

import json
import math
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tr_grpo.analysis import quickstart
from tr_grpo.analysis.curves import ACCURACY, GRADIENT_NORM, REWARD, draw
from tr_grpo.analysis.run_metrics import column, read_metrics, weight_mean
from tr_grpo.data_prep.errors import InputError


def write(path: Path, *steps: int, tail: str = "", **values: float) -> None:
    path.write_text("".join(json.dumps({"step": step, "data": values}) + "\n" for step in steps) + tail)


def test_later_starts_win_and_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "metrics-000.jsonl", 1, 2, 3, tail='{"step": 4, "da', a=1.0, b=1.0)
    write(tmp_path / "metrics-001.jsonl", 3, 4, a=2.0)
    steps = read_metrics(tmp_path)
    assert list(steps) == [1, 2, 3, 4]
    assert steps[3] == {"a": 2.0, "b": 1.0}
    assert column(steps, "b") == ([1, 2, 3], [1.0, 1.0, 1.0])


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics-000.jsonl").write_text('{"step": 1, "data": {}}\nbroken\n{"step": 2, "data": {}}\n')
    with pytest.raises(InputError, match=r"metrics-000.jsonl: line 2 is not JSON"):
        read_metrics(tmp_path)


def test_no_run_is_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "nothing") == {}


def test_weight_mean_is_none_where_it_was_not_measured() -> None:
    assert weight_mean({"actor/tr/weight_mean": 1.25}) == 1.25
    assert weight_mean({"actor/grad_norm": 1.0}) is None


@pytest.mark.parametrize("path", ["a b", "it's", "x=y,z", "back\\slash", "end\\", "\\'", "{a}", "ünïcode"])
def test_any_path_survives_hydras_override_grammar(path: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={quickstart.quoted(Path(path))}"])
    assert str(override.value()) == path


def fake_run(accuracy: tuple[float, float], weight: float | None) -> dict[int, dict[str, float]]:
    run = {0: {ACCURACY: accuracy[0]}}
    for step in (1, 2, 3):
        run[step] = {REWARD: 0.1 * step, GRADIENT_NORM: 0.2, "timing_s/step": 4.0 - step}
        if weight is not None:
            run[step] |= {"actor/tr/weight_mean": weight}
    run[3][ACCURACY] = accuracy[1]
    return run


def test_outcome_and_picture(tmp_path: Path) -> None:
    runs = {"grpo": fake_run((0.2, 0.5), None), "tr_grpo": fake_run((0.2, 0.6), 1.3)}
    plain, weighted = (quickstart.outcome(run) for run in runs.values())
    assert (plain.accuracy_before, plain.accuracy_after, plain.steps, plain.weight_mean) == (0.2, 0.5, 3, 1.0)
    assert weighted.weight_mean == pytest.approx(1.3)
    assert plain.seconds_per_step == 2.0
    low, high = plain.accuracy_after_interval
    # Wilson's interval of 58 of 116, by its formula: symmetric about a half.
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - 0.5 == pytest.approx(
        1.959964 * (0.25 / 116 + 1.959964**2 / (4 * 116**2)) ** 0.5 / (1 + 1.959964**2 / 116)
    )
    assert (plain.reward_first, plain.reward_last) == (pytest.approx(0.1), pytest.approx(0.3))
    draw(runs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_two_runs_differ_in_the_algorithm_alone(tmp_path: Path) -> None:
    first, second = (quickstart.overrides(name, tmp_path, [tmp_path], tmp_path, 25) for name in quickstart.ALGORITHMS)
    different = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
    assert [a.split("=")[0] for a, _ in different] == ["algo", "trainer.default_local_dir"]


def test_live_line_says_where_the_run_is() -> None:
    line = quickstart.status("grpo", fake_run((0.2, 0.5), None), 3, 25, 90.0, (1, 10.0), 30.0)
    assert "step  3/25" in line
    assert "accuracy  50%" in line
    assert "220 s left" in line
    assert "starting" in quickstart.status("grpo", {}, 0, 25, 7.0, None, 7.0)
    assert not math.isnan(quickstart.outcome(fake_run((0.1, 0.2), None)).accuracy_after)
