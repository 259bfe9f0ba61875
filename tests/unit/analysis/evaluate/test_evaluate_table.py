"""The table is a pure function of the samples: closed forms, and what may not change it."""

import csv
import io
import json
import math
import random

import pytest
from made_samples import made, record
from scipy import stats

from tr_grpo.analysis.evaluate.paper import LAYOUTS, Layout, paper_grid
from tr_grpo.analysis.evaluate.render import FORMATS, NONE, Grid, draw, percent, render
from tr_grpo.analysis.evaluate.samples import Sample
from tr_grpo.analysis.evaluate.table import Estimate, default_ks, summarise
from tr_grpo.data_prep.errors import InputError


def two_problems() -> list[Sample]:
    """a: 1 of 4 right; b: 3 of 4."""
    a = [made("a", number, number == 0) for number in range(4)]
    return a + [made("b", number, number > 0) for number in range(4)]


def test_one_set_by_hand() -> None:
    table = summarise(two_problems(), record(), 2)
    (line,) = table.lines
    assert line.avg is not None
    assert line.avg.value == 0.5
    assert table.ks == (2, 4)
    # a: 1 - C(3,2)/C(4,2) = 1/2; b: 1.
    assert line.passes[2].value == pytest.approx(0.75)
    # 1 of 4 right is pass@4 = 1, where verl's best@4 says 0.68.
    assert line.passes[4].value == 1.0
    assert line.majorities[4].value == 0.5  # a's majority is wrong, b's right
    assert line.majorities[2].value == pytest.approx(0.5)  # of two the majority is no more than one of them
    assert line.verdicts["right"].value == 0.5
    wilsons = stats.binomtest(4, 8).proportion_ci(method="wilson")
    assert (line.verdicts["right"].low, line.verdicts["right"].high) == (wilsons.low, wilsons.high)
    assert (line.problems, line.samples, line.unscored, line.tokens) == (2, 8, 0, 10.0)
    assert table.mean is None


def test_the_order_of_the_samples_changes_no_character() -> None:
    samples = [
        made(f"{source}{i}", n, random.Random(f"{source}{i}{n}").random() < 0.4, source, f"level {i % 3}")
        for source in ("x", "y")
        for i in range(6)
        for n in range(4)
    ]
    wanted = [render(summarise(sorted(samples, key=lambda s: s.key), record(), 12), style) for style in FORMATS]
    for seed in range(2):
        shuffled = random.Random(seed).sample(samples, len(samples))
        table = summarise(sorted(shuffled, key=lambda s: s.key), record(), 12)
        assert [render(table, style) for style in FORMATS] == wanted


def test_the_mean_of_the_sets_weighs_sets_alike_and_all_problems_weighs_problems() -> None:
    samples = [made(f"big{i}", 0, False, "big") for i in range(9)] + [made("small", 0, True, "small")]
    table = summarise(samples, record(samples=1), 10)
    assert table.mean is not None
    assert table.mean.avg == Estimate(0.5, 0.5, 0.5)  # within a set there is no chance here
    assert table.overall.avg is not None
    assert table.overall.avg.value == pytest.approx(0.1)
    assert table.averaged == ("big", "small")


def test_a_single_sets_mean_is_of_its_parts_in_their_order() -> None:
    samples = [made(f"{p}-{i}", 0, p == 3, "knights_knaves", f"people {p}") for p in (3, 10, 4) for i in range(p)]
    table = summarise(samples, record(samples=1), len(samples))
    assert [line.part for line in table.lines] == ["", "people 3", "people 4", "people 10"]
    assert table.mean is not None
    assert table.mean.avg is not None
    assert table.mean.avg.value == pytest.approx(1 / 3)
    assert table.averaged == ("people 3", "people 4", "people 10")


def test_greedy_responses_are_apart_and_have_wilsons_interval() -> None:
    samples = [*two_problems(), made("a", 0, True, greedy=True), made("b", 0, False, greedy=True)]
    (line,) = summarise(samples, record(greedy=True), 2).lines
    wilsons = stats.binomtest(1, 2).proportion_ci(method="wilson")
    assert line.greedy == Estimate(0.5, wilsons.low, wilsons.high)
    assert line.avg is not None
    assert line.avg.value == 0.5
    assert line.samples == 8
    only = [sample for sample in samples if sample.greedy]
    (line,) = summarise(only, record(samples=0, greedy=True), 2).lines
    assert line.avg is None
    assert line.verdicts["right"].value == 0.5


@pytest.mark.parametrize("fault", [{"verdict": "error", "score": None}, {"failed_searches": 1}])
def test_what_could_not_be_scored_is_counted_and_in_no_share(fault: dict) -> None:
    samples = two_problems()
    samples[1] = made("a", 1, **fault)  # of a, now 1 of 3 right
    table = summarise(samples, record(), 2)
    (line,) = table.lines
    assert table.unscored == line.unscored == 1
    assert line.avg is not None
    assert line.avg.value == pytest.approx((1 / 3 + 3 / 4) / 2)
    # a has no four scored samples: pass@4 is b's alone.
    assert line.passes[4].value == 1.0
    assert line.passes[2].value == pytest.approx((2 / 3 + 1) / 2)
    assert line.verdicts["error"].value == 0.0
    assert sum(share.value for share in line.verdicts.values()) == pytest.approx(1.0)
    assert "UNSCORED: 1 samples" in render(table, "text")


def test_a_verdict_that_one_set_has_and_another_has_not_is_zero_there() -> None:
    samples = [made("p", 0, True, "x"), made("q", 0, False, "y")]
    text = render(summarise(samples, record(samples=1), 2), "md")
    (row,) = [line for line in text.partition("Verdicts")[2].splitlines() if line.startswith("| x |")]
    assert row == "| x | 100.0 [20.7, 100.0] | 0.0 [0.0, 79.3] |"
    assert "timeout" not in text


def test_nothing_scored_is_a_dash_not_a_zero() -> None:
    samples = [made("a", 0, verdict="error", score=None)]
    table = summarise(samples, record(samples=1), 1)
    assert table.lines[0].avg is None
    assert NONE in render(table, "text")
    assert json.loads(render(table, "json"))["sets"][0]["avg"] is None


def test_an_unfinished_or_limited_evaluation_says_so() -> None:
    text = render(summarise(two_problems(), record(problems=3, limit=3), 3), "md")
    assert "UNFINISHED: 8 of 12 samples." in text
    assert "LIMITED to 3 problems of each set" in text
    assert "UNFINISHED" not in render(summarise(two_problems(), record(), 2), "md")


def test_default_ks_are_the_powers_of_two() -> None:
    assert [default_ks(n) for n in (0, 1, 2, 5, 16)] == [(), (), (2,), (2, 4), (2, 4, 8, 16)]
    assert summarise(two_problems(), record(), 2, (1, 3)).ks == (1, 3)


def test_every_format_has_the_same_numbers() -> None:
    table = summarise(two_problems(), record(), 2)
    (line,) = table.lines
    plain = json.loads(render(table, "json"))["sets"][0]
    rows = {row["measure"]: row for row in csv.DictReader(io.StringIO(render(table, "csv"))) if row["set"] == "sums"}
    for name, estimate in (("pass@2", line.passes[2]), ("maj@4", line.majorities[4])):
        assert plain["passes" if name[0] == "p" else "majorities"][name]["low"] == estimate.low
        assert float(rows[name]["value"]) == estimate.value
        assert percent(estimate) in render(table, "md")
    assert plain["avg"]["value"] == float(rows["avg@4"]["value"]) == 0.5


def paper_of(samples: list[Sample]) -> Grid:
    return paper_grid(summarise(samples, record(samples=1), len(samples)), samples)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_paper_tables_have_every_column_and_label_what_is_reported(layout: Layout) -> None:
    places = list(layout.columns.values())
    samples = [made(f"{place}", 0, True, *place) for place in places]
    grid = paper_of(samples)
    assert grid.header == ("model", "method", *layout.columns, "mean", "source")
    ours, *reported = grid.rows
    assert ours[1] == "ours, avg@1"
    assert all(cell.startswith("100.0 [") for cell in ours[2:-1])
    assert len(reported) == len(layout.reported) > 0
    for row in reported:
        assert row[1].startswith("reported: ")
        assert row[-1].startswith("arXiv ")
    assert all(len(row) == len(grid.header) for row in grid.rows)
    assert "reported: " in draw([grid], "text")


def test_a_set_that_was_not_evaluated_is_a_dash_and_there_is_no_mean() -> None:
    samples = [made("p", 0, True, "math/aime24"), made("q", 0, False, "math/amc23"), made("r", 0, True, "math/aime25")]
    grid = paper_of(samples)
    cells = dict(zip(grid.header, grid.rows[0], strict=True))
    assert cells["AIME24"].startswith("100.0")
    assert cells["AMC23"].startswith("0.0")
    assert cells["Minerva"] == cells["mean"] == NONE


def test_another_set_beside_the_papers_does_not_enter_their_mean() -> None:
    names = [source for source, _ in LAYOUTS[1].columns.values()]
    samples = [made(name, 0, True, name) for name in names]
    assert paper_of([*samples, made("other", 0, False, "math/aime25")]).rows[0][2:] == paper_of(samples).rows[0][2:]
    puzzles = [made(f"p{n}", 0, n > 2, "knights_knaves", f"people {n}") for n in range(2, 8)]
    grid = paper_of(puzzles)
    assert dict(zip(grid.header, grid.rows[0], strict=True))["mean"].startswith("100.0")


def test_puzzles_of_one_number_of_people_stand_in_its_column() -> None:
    samples = [made(f"p{i}", 0, True, "knights_knaves", "people 4") for i in range(3)]
    grid = paper_of(samples)
    cells = dict(zip(grid.header, grid.rows[0], strict=True))
    assert cells["4"].startswith("100.0")
    assert cells["3"] == cells["mean"] == NONE


def test_the_same_problems_have_the_same_interval_whatever_they_are_called() -> None:
    samples = [made(f"p{i}", n, i + n < 5) for i in range(7) for n in range(4)]
    table = summarise(samples, record(), 7)
    assert table.lines[0].avg == table.overall.avg
    assert table.lines[0].passes == table.overall.passes


def test_the_sets_of_a_mean_are_drawn_from_independently() -> None:
    """Of two sets of the same values the mean has 1/sqrt(2) of the one's standard error."""
    samples = [made(f"{s}{i}", 0, i % 2 == 0, s) for s in ("x", "y") for i in range(200)]
    table = summarise(samples, record(samples=1), 400)
    one, mean = table.lines[0].avg, table.mean and table.mean.avg
    assert one is not None
    assert mean is not None
    assert (mean.high - mean.low) / (one.high - one.low) == pytest.approx(0.5**0.5, rel=0.1)


def test_reported_numbers_are_the_papers() -> None:
    knights, mathematics, questions = LAYOUTS
    assert [row.values["mean"] for row in knights.reported[:2]] == ["39", "63"]
    assert [row.values["AIME24"] for row in mathematics.reported] == ["28.89", "43.33"]
    assert [row.values["mean"] for row in questions.reported] == ["13.84", "27.29"]


def test_a_set_of_no_paper_is_refused() -> None:
    with pytest.raises(InputError, match="no paper reports sums; known are knights_knaves"):
        paper_grid(summarise(two_problems(), record(), 2), two_problems())


def test_a_cell_shows_per_cent() -> None:
    assert percent(Estimate(0.4333, 0.25, 0.626)) == "43.3 [25.0, 62.6]"
    assert percent(None) == NONE
    assert not math.isnan(float(percent(Estimate(1, 1, 1), interval=False)))
