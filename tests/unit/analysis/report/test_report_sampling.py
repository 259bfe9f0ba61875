"""Which responses go into the page, and what stays of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import Made, Metrics, make_run, response, write_responses

from tr_grpo.analysis.report import sampling
from tr_grpo.analysis.report.data import dumps
from tr_grpo.analysis.report.reading import read_records
from tr_grpo.analysis.report.sampling import Interned, encode, evenly, token_view, wanted
from tr_grpo.analysis.run_folder import Response


def encoded(row: Response) -> tuple[dict, Interned]:
    pieces = Interned()
    return encode(row, False, pieces, Interned()), pieces


@given(st.integers(0, 500))
def test_evenly_visits_every_place_once_and_its_first_ones_are_spread(count: int) -> None:
    places = list(evenly(count))
    assert sorted(places) == list(range(count))
    if count >= 8:
        assert max(np.diff(sorted([*places[:4], count]))) <= count / 2 + 1


def test_last_first_and_spikes_are_wanted_before_the_others(tmp_path: Path) -> None:
    def spiky(step: int, metrics: Metrics) -> Metrics:
        return metrics | ({"actor/update/grad_norm_max": 99.0} if step in (7, 13) else {})

    (record,) = read_records([make_run(tmp_path / "run", Made(steps=20, tokens=3, change=spiky))])
    order = list(wanted(record))
    assert order[:2] == [20, 1]
    assert set(order[2:4]) == {7, 13}
    assert sorted(order) == list(range(1, 21))


def test_the_view_keeps_its_budget_and_runs_take_turns(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, Made(seed=i, steps=30)) for i, name in enumerate("ab")]
    records = read_records(runs)
    whole, _ = token_view(records, 10**9)
    assert whole["included"] == whole["recorded"] == 60
    part, _ = token_view(records, 100_000)
    assert len(dumps(part)) < 105_000
    steps = [sum(update["run"] == run for update in part["updates"]) for run in (0, 1)]
    assert abs(steps[0] - steps[1]) <= 2
    assert {update["step"] for update in part["updates"]} >= {1, 30}
    assert part["recorded"] == 60


def test_one_response_goes_in_however_small_the_room(tmp_path: Path) -> None:
    view, problems = token_view(read_records([make_run(tmp_path / "run", Made(steps=2))]), 10)
    assert [len(update["responses"]) for update in view["updates"]] == [1]
    assert not problems


def test_an_unreadable_file_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Made(steps=3, updates=1))
    (folder / "rollouts" / "step-000002-update-00.parquet").write_bytes(b"half")
    view, problems = token_view(read_records([folder]), 10**9)
    assert [update["step"] for update in view["updates"]] == [1, 3]
    assert len(problems) == 1
    assert "step-000002-update-00.parquet" in problems[0]


def test_what_is_written_down_gives_the_numbers_back() -> None:
    row = Response(**response(Made(algo="tr_grpo"), 3, 1, 4))
    page, pieces = encoded(row)
    mask = np.array(row.mask)
    assert page["m"] == "".join("01"[on] for on in row.mask)
    assert [pieces.values[place] for place in page["t"]] == list(zip(row.ids, row.tokens, strict=True))
    log_prob = np.array([np.nan if value is None else -value * 1e-5 for value in page["p"]])
    assert log_prob[mask] == pytest.approx(np.array(row.log_prob)[mask], abs=1e-5)
    moved = np.array(page["o"], dtype=float) * 1e-5
    difference = np.array(row.log_prob) - np.array(row.old_log_prob)
    assert moved[mask] == pytest.approx(difference[mask], abs=1e-5)
    assert page["a"] == pytest.approx(row.advantage[0])
    for name in ("b", "s"):
        assert sum(value for value in page[name] if value is not None) == pytest.approx(1e6, abs=len(mask))


def test_a_long_response_is_cut_and_says_so_and_its_shares_are_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Response(**response(Made(algo="tr_grpo", tokens=40), 1, 0, 0))
    whole, _ = encoded(row)
    monkeypatch.setattr(sampling, "TOKENS", 10)
    page, _ = encoded(row)
    assert (page["length"], page["counted"], len(page["t"])) == (40, 40, 10)
    assert page["b"] == whole["b"][:10]


def test_numbers_that_are_none_are_null_in_the_json() -> None:
    row = Response(**response(Made(), 1, 0, 0))
    bad = replace(row, gradient=[float("nan")] * 30, log_prob=[float("-inf")] * 30, score=None, verdict=None)
    page, _ = encoded(bad)
    assert page["g"] is None
    assert page["b"] is None
    assert "NaN" not in dumps(page)


def test_a_response_without_tokens_is_shown_and_one_whose_lists_differ_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Made(steps=1, updates=1, responses=0))
    row = response(Made(), 1, 0, 0)
    empty = row | {name: [] for name, value in row.items() if isinstance(value, list)}
    write_responses(folder, 1, 0, [empty, row])
    write_responses(folder, 1, 1, [row | {"tokens": ["one"]}])
    write_responses(folder, 2, 0, [row])
    view, problems = token_view(read_records([folder]), 10**9)
    assert [update["step"] for update in view["updates"]] == [2]
    assert len(problems) == 1
    assert "lists differ in length" in problems[0]
    (folder / "rollouts" / "step-000001-update-01.parquet").unlink()
    view, problems = token_view(read_records([folder]), 10**9)
    assert not problems
    assert [len(shown["t"]) for shown in view["updates"][0]["responses"]] == [0, 30]


def test_a_share_of_zero_on_the_page_is_a_token_without_gradient() -> None:
    row = Response(**response(Made(algo="tr_grpo"), 1, 0, 0))
    small = replace(row, log_prob=[-1.0, -1e-9, *row.log_prob[2:]], gradient=[1.0, 1.0, 0.0, *[1.0] * 27])
    page, _ = encoded(small)
    assert page["b"][1:3] == [1, 0]
