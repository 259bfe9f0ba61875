"""Which runs are compared, which are refused, and what is said of the difference."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from synthetic import ACCURACY, Made, Metrics, make_run
from typer.testing import CliRunner

from tr_grpo.analysis.compare_command import compare
from tr_grpo.analysis.comparison import At, Comparison, compare_runs
from tr_grpo.analysis.run_folder import open_run
from tr_grpo.data_prep.errors import InputError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(compare)
LR = "actor_rollout_ref.actor.optim.lr"


def run(
    folder: Path,
    algo: str = "grpo",
    seed: int = 1,
    accuracy: float | Mapping[int, float] = 0.5,
    settings: Mapping[str, Any] | None = None,
    **changes: float,
) -> Path:
    """A run of 20 steps, validated at 0, 5, …, 20, whose accuracy is given; ``changes`` overwrite metrics."""

    validated = accuracy if isinstance(accuracy, Mapping) else dict.fromkeys(range(0, 21, 5), accuracy)

    def change(step: int, metrics: Metrics) -> Metrics:
        metrics.pop(ACCURACY, None)
        return (
            metrics
            | {key: value for key, value in changes.items() if key in metrics}
            | ({ACCURACY: validated[step]} if step in validated else {})
        )

    made = Made(algo=algo, seed=seed, steps=20, responses=0, change=change, settings=settings)
    return make_run(folder, made)


def compared(*folders: Path, **options: Any) -> Comparison:
    return compare_runs([open_run(folder) for folder in folders], **options)


def printed(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def five(tmp_path: Path) -> list[Path]:
    """Five pairs in which tr_grpo is better by 1, 2, 3, 4 and 5 points."""
    return [
        *(run(tmp_path / f"g{seed}", "grpo", seed, 0.5 + seed / 50) for seed in range(1, 6)),
        *(run(tmp_path / f"t{seed}", "tr_grpo", seed, 0.5 + seed / 50 + seed / 100) for seed in range(1, 6)),
    ]


def test_pairs_are_runs_of_one_seed_and_the_difference_is_theirs(five: list[Path]) -> None:
    (contrast,) = compared(*five[:5], *reversed(five[5:])).contrasts
    assert (contrast.baseline, contrast.method) == ("grpo", "tr_grpo")
    differences = {pair.seeds["data.seed"]: pair.difference for pair in contrast.pairs}
    assert differences == pytest.approx({seed: seed / 100 for seed in range(1, 6)})
    assert contrast.difference is not None
    assert contrast.difference.mean == pytest.approx(0.03)
    assert contrast.difference.p == pytest.approx(2 / 2**5)


def test_the_first_run_names_the_baseline(five: list[Path]) -> None:
    (contrast,) = compared(*five[5:], *five[:5]).contrasts
    assert (contrast.baseline, contrast.method) == ("tr_grpo", "grpo")
    assert contrast.difference is not None
    assert contrast.difference.mean == pytest.approx(-0.03)


def test_the_sentence_has_the_numbers_that_it_rests_on(five: list[Path]) -> None:
    text = printed(*five)
    assert "tr_grpo is 3.0 points better than grpo on 5 seeds (95 % interval +1.8 to +4.2" in text
    assert "sign-flip p = 0.0625, the smallest that 5 pairs can give is 0.062" in text
    assert "the test does not reject" in text
    # Mean 3, standard deviation 1.58: an effect of 1.9.
    assert "power of 80% from 5 seeds on" in text
    assert "significant" not in text


def test_an_interval_that_holds_zero_shows_nothing(tmp_path: Path) -> None:
    folders = [run(tmp_path / f"g{seed}", "grpo", seed, 0.5) for seed in (1, 2, 3)]
    folders += [run(tmp_path / f"t{seed}", "tr_grpo", seed, 0.5 + d) for seed, d in ((1, 0.1), (2, -0.1), (3, 0.03))]
    text = printed(*folders)
    assert "The interval holds 0: these runs do not show a difference." in text
    assert "fewer than 5 pairs is too narrow" in text


def test_one_seed_each_says_nothing_of_the_method(tmp_path: Path) -> None:
    text = printed(run(tmp_path / "g", accuracy=0.5), run(tmp_path / "t", "tr_grpo", accuracy=0.6))
    assert "no statement about the method is possible" in text
    assert "This run of tr_grpo is 10.0 points better than that of grpo" in text
    assert "Wilson" not in text
    assert "p =" not in text


def test_with_the_test_problems_at_hand_wilsons_interval_is_added(tmp_path: Path) -> None:
    test = tmp_path / "test.parquet"
    pq.write_table(pa.table({"data_source": ["knights_knaves"] * 100 + ["math"] * 7}), test)
    settings = {"data.val_files": [str(test)]}
    pair = (
        run(tmp_path / "g", accuracy=0.5, settings=settings),
        run(tmp_path / "t", "tr_grpo", accuracy=0.6, settings=settings),
    )
    # Wilson's intervals of 50 and of 60 in 100.
    assert "Over the 100 test problems alone, Wilson's 95 % intervals are 40.4 to 59.6 and 50.2 to 69.1." in printed(
        *pair
    )
    odd = run(tmp_path / "odd", "tr_grpo", accuracy=0.6051, settings=settings)
    assert "Wilson" not in printed(pair[0], odd)


def test_settings_beside_the_method_are_refused_by_name_with_both_values(tmp_path: Path) -> None:
    pair = run(tmp_path / "g", settings={LR: 1e-4}), run(tmp_path / "t", "tr_grpo", settings={LR: 2e-4})
    with pytest.raises(InputError, match=rf"{LR}: 0.0001 in .*g; 0.0002 in .*t") as refused:
        compared(*pair)
    assert "--allow KEY (1 differ)" in str(refused.value)
    for allowed in (LR, "actor_rollout_ref.actor.optim", "actor_rollout_ref"):
        assert list(compared(*pair, allow=[allowed]).allowed) == [LR]
        assert f"allowed: {LR}" in printed(*pair, "--allow", allowed)
    with pytest.raises(InputError):
        compared(*pair, allow=["actor_rollout_ref.actor.opt"])


def test_a_key_allowed_in_vain_is_said(tmp_path: Path) -> None:
    notes = compared(run(tmp_path / "g"), run(tmp_path / "t", "tr_grpo"), allow=["data.x"]).notes
    assert "--allow data.x: the runs do not differ there" in notes


def test_variants_of_one_algo_are_methods_of_their_own(tmp_path: Path) -> None:
    tau = "actor_rollout_ref.actor.policy_loss.tau"
    folders = [run(tmp_path / name, "tr_grpo", settings={tau: value}) for name, value in (("a", 9.0), ("b", 5.0))]
    assert list(compared(run(tmp_path / "g"), *folders).arms) == ["grpo", "tr_grpo (tau=9.0)", "tr_grpo (tau=5.0)"]


def test_where_the_method_is_one_an_allowed_setting_takes_its_place(tmp_path: Path) -> None:
    slow, fast = (run(tmp_path / name, settings={LR: lr}) for name, lr in (("slow", 1e-4), ("fast", 1e-3)))
    (contrast,) = compared(slow, fast, allow=[LR]).contrasts
    assert (contrast.baseline, contrast.method) == ("grpo (lr=0.0001)", "grpo (lr=0.001)")


def test_two_runs_of_one_method_and_seed_are_refused_by_name(tmp_path: Path) -> None:
    folders = [run(tmp_path / "g"), run(tmp_path / "again"), run(tmp_path / "t", "tr_grpo")]
    with pytest.raises(InputError, match=r"g and .*again: both are grpo with data.seed=1"):
        compared(*folders)


def test_a_run_without_partner_is_left_out_and_said(five: list[Path]) -> None:
    comparison = compared(*five[:4], *five[5:])
    assert len(comparison.contrasts[0].pairs) == 4
    assert any("t5: left out, grpo has no run with data.seed=5" in note for note in comparison.notes)


def test_every_seed_has_to_agree_in_a_pair(tmp_path: Path) -> None:
    loader = "actor_rollout_ref.actor.data_loader_seed"
    one, other = (
        run(tmp_path / name, algo, settings={loader: n}) for name, algo, n in (("g", "grpo", 1), ("t", "tr_grpo", 2))
    )
    with pytest.raises(InputError, match=f"no two runs of different methods are a pair.*{loader}=1"):
        compared(one, other)


def test_no_seeds_in_common_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no two runs of different methods"):
        compared(run(tmp_path / "g", seed=1), run(tmp_path / "t", "tr_grpo", seed=2))


def test_the_last_common_validation_counts_not_the_last(tmp_path: Path) -> None:
    short = run(tmp_path / "g", accuracy={0: 0.1, 5: 0.2, 10: 0.3})
    long = run(tmp_path / "t", "tr_grpo", accuracy={0: 0.1, 5: 0.3, 10: 0.5, 15: 0.9})
    comparison = compared(short, long)
    (pair,) = comparison.contrasts[0].pairs
    assert (pair.steps, pair.values) == ((10,), (0.3, 0.5))
    assert any("measured up to step 10 and 15, compared up to 10" in note for note in comparison.notes)


def test_best_and_mean_of_three_are_over_common_steps_after_training_began(tmp_path: Path) -> None:
    first = run(tmp_path / "g", accuracy={0: 0.99, 5: 0.6, 10: 0.3, 15: 0.3, 20: 0.6})
    second = run(tmp_path / "t", "tr_grpo", accuracy={0: 0.99, 5: 0.1, 10: 0.2, 15: 0.3, 20: 0.4})
    (best,) = compared(first, second, at=At.BEST).contrasts[0].pairs
    assert best.values == (0.6, 0.4)
    (mean,) = compared(first, second, at=At.MEAN3).contrasts[0].pairs
    assert mean.steps == (10, 15, 20)
    assert mean.values == pytest.approx((0.4, 0.3))


def test_a_validation_before_training_alone_is_no_outcome(tmp_path: Path) -> None:
    pair = run(tmp_path / "g", accuracy={0: 0.5}), run(tmp_path / "t", "tr_grpo", accuracy={0: 0.5})
    with pytest.raises(InputError, match="0 common steps"):
        compared(*pair)


def test_a_method_whose_weight_separates_nothing_is_warned_of(tmp_path: Path) -> None:
    flat = {"actor/tr/informative": 0.0}
    pair = run(tmp_path / "g"), run(tmp_path / "t", "tr_grpo", **flat)
    assert any(note.startswith("tr_grpo: actor/tr/informative is 0") for note in compared(*pair).notes)
    assert not any("informative" in note for note in compared(pair[0], run(tmp_path / "t2", "tr_grpo")).notes)


def test_seeds_of_one_method_are_summed_up_and_not_compared(tmp_path: Path) -> None:
    text = printed(*(run(tmp_path / f"g{seed}", seed=seed, accuracy=0.4 + seed / 10) for seed in (1, 2)))
    assert "nothing is compared. Their last values have the mean 55.0 [-8.5, 118.5]" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.yaml").unlink(), "no config.yaml"),
        (lambda folder: (folder / "metrics-000.jsonl").write_text(""), r"t: no common val-core"),
        (lambda folder: (folder / "metrics-000.jsonl").unlink() or (folder / "events.jsonl").unlink(), "no metrics"),
    ],
)
def test_bad_runs_are_named(tmp_path: Path, change: Any, message: str) -> None:
    pair = run(tmp_path / "g"), run(tmp_path / "t", "tr_grpo")
    change(pair[1])
    with pytest.raises(InputError, match=message) as error:
        compared(*pair)
    assert str(pair[1]) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_named_twice_or_alone_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "g")
    for named in ([folder], [folder, folder], [folder, folder / ".." / "g"]):
        with pytest.raises(InputError, match="at least two runs, each once"):
            compared(*named)


def test_a_metric_that_a_run_lacks_and_a_choice_of_several_are_named(tmp_path: Path) -> None:
    pair = run(tmp_path / "g"), run(tmp_path / "t", "tr_grpo")
    with pytest.raises(InputError, match=r"g: no step has the metric nonsense"):
        compared(*pair, metric="nonsense")
    assert compared(*pair, metric="reward/acc").metric == "reward/acc"
    opened = [open_run(folder) for folder in pair]
    for own in opened:
        own.metrics[20]["val-core/other/acc/mean@4"] = 0.5
    with pytest.raises(InputError, match=r"--metric val-core/knights_knaves/acc/mean@1 \| val-core/other/acc/mean@4"):
        compare_runs(opened)


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    pair = run(tmp_path / "g", accuracy={20: float("nan")}), run(tmp_path / "t", "tr_grpo")
    with pytest.raises(InputError, match=r"g: .* is not a number"):
        compared(*pair)


def test_other_versions_and_commits_are_said(tmp_path: Path) -> None:
    pair = run(tmp_path / "g"), run(tmp_path / "t", "tr_grpo")
    assert not any("differ in" in note for note in compared(*pair).notes)
    events = pair[1] / "events.jsonl"
    events.write_text(events.read_text().replace('"verl": "0.9.1"', '"verl": "0.9.2"').replace("0" * 40, "1" * 40))
    notes = compared(*pair).notes
    assert f"the runs differ in verl: 0.9.1 in {pair[0]}, 0.9.2 in {pair[1]}" in notes
    assert any("differ in commit: 000000000000" in note for note in notes)


def test_json_has_what_the_text_says(five: list[Path]) -> None:
    content = json.loads(printed(*five, "--format", "json"))
    (contrast,) = content["contrasts"]
    assert contrast["difference"]["mean"] == pytest.approx(0.03)
    assert contrast["needed"] == 5
    assert contrast["smallest_p"] == pytest.approx(0.0625)
    assert [pair["difference"] for pair in contrast["pairs"]] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    assert contrast["sentence"] in printed(*five)


def test_markdown_is_a_table(five: list[Path]) -> None:
    lines = printed(*five, "--format", "md").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0] == "| seed | step | grpo | tr_grpo | difference |"
    assert {row.count("|") for row in rows} == {6}


def test_a_shift_of_both_methods_changes_no_statistic(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    results = []
    values = rng.uniform(0.2, 0.4, (2, 4))
    for shift in (0.0, 0.25):
        folders = [
            run(tmp_path / f"{shift}{algo}{seed}", algo, seed, float(values[i, seed] + shift))
            for i, algo in enumerate(("grpo", "tr_grpo"))
            for seed in range(4)
        ]
        (contrast,) = compared(*folders).contrasts
        assert contrast.difference is not None
        results.append([contrast.difference.mean, contrast.difference.low, contrast.difference.p, contrast.needed])
    assert results[0] == pytest.approx(results[1])


def test_a_hostile_config_reaches_no_terminal(tmp_path: Path) -> None:
    tau = "actor_rollout_ref.actor.policy_loss.shape"
    hostile = "\x1b]0;owned\x07\x9b31m"
    folders = [run(tmp_path / name, "tr_grpo", settings={tau: value}) for name, value in (("a", hostile), ("b", "x"))]
    text = printed(*folders)
    assert "owned" in text
    assert not set(text) & set("\x1b\x07\x9b")
