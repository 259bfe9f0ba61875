"""What a user types and reads: text, Markdown and JSON, and one line where something is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from plan_cases import QWEN_3B, node, plan
from typer.testing import CliRunner

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.plan import scale_text, text
from tr_grpo.trainer.plan.command import plan as command
from tr_grpo.trainer.plan.picture import draw
from tr_grpo.trainer.plan.scale import NODES, Regime, scale

APP = typer.Typer()
APP.command()(command)
WORDS = ["algo=tr_grpo", "llm=qwen2_5_3b_instruct", "cluster=node_4x80gb"]


def call(*words: str) -> str:
    result = CliRunner().invoke(APP, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_text_says_what_it_is_and_names_every_assumption() -> None:
    shown = call(*WORDS)
    assert "Estimates on paper, not measurements" in shown
    assert "3.086 billion parameters" in shown
    assert "It fits" in shown
    for name, _, _ in plan(node()).assumed.rows():
        assert name in shown


def test_json_has_the_numbers_of_the_text() -> None:
    told = json.loads(call(*WORDS, "--format", "json", "--card", "a100", "--assume", "train_mfu=0.5"))
    assert told["fits"] is True
    assert told["model"]["parameters"] == QWEN_3B.parameters
    assert told["assumed"]["train_mfu"] == 0.5
    assert told["step"]["seconds"]["step"] == pytest.approx(
        sum(seconds for name, seconds in told["step"]["seconds"].items() if name != "step")
    )
    for phase in told["phases"]:
        assert phase["bytes"] == pytest.approx(sum(item["bytes"] for item in phase["items"]))
    assert set(told["cards"]) == {"RTX4090", "A6000", "L40S", "A100", "H100", "H200"}


def test_the_way_to_a_thousand_gpus_is_told_in_json() -> None:
    told = json.loads(call(*WORDS, "--scale", "--format", "json"))
    assert set(told["regimes"]) == {regime.value for regime in Regime}
    for rows in told["regimes"].values():
        assert [row["gpus"] for row in rows] == [4 * count for count in NODES]
    assert [row["sigma"] for row in told["simulation"]["rows"]] == [0.0, 0.4, 0.7, 1.0, 1.3]


def test_markdown_tables_have_as_many_cells_as_their_header() -> None:
    made = plan(node(), on="RTX4090")
    for parts in (list(text.blocks(made)), list(scale_text.blocks(made))):
        for block in text.as_markdown(parts).split("\n\n"):
            lines = block.split("\n")
            if lines[0].startswith("|"):
                assert len({line.count("|") for line in lines}) == 1


def test_a_terminal_loses_no_key() -> None:
    shown = text.as_terminal(list(text.blocks(plan(node()))), width=100)
    assert "…" not in shown.replace("actor_rollout_ref.…", "")


def test_a_run_that_does_not_fit_says_so_and_what_to_paste() -> None:
    told = text.as_markdown(list(text.blocks(plan(node(), on="RTX4090"))))
    assert "It does not fit." in told
    assert "DOES NOT FIT" in told
    assert "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=" in told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cluster=gpu_1", "--card", "B300"], "--card B300: unknown"),
        (["cluster=gpu_1", "--assume", "x=1"], "--assume x=1: unknown"),
        (["cluster=gpu_1", "--shape", "layers"], "--shape: 'layers'"),
        (["cluster=gpu_1", "llm=base_model"], r"model.path=\(empty\): no such folder"),
        (["cluster=gpu_1", "data.train_batchsize=3"], "did you mean data.train_batch_size"),
        (["cluster=gpu_1", "--draw", "x.svg"], "--draw: only with --scale"),
        (["cluster=gpu_1", "--scale", "--draw", "x.pdf"], "must end in .svg or .png"),
        ([], "trainer.device=cpu"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        CliRunner().invoke(APP, words, catch_exceptions=False)
    assert "\n" not in str(caught.value)


def test_the_command_loads_nothing_heavy_until_it_is_called() -> None:
    heavy = "import sys, tr_grpo.trainer.plan.command; print({'torch', 'scipy', 'simpy', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from tr_grpo.trainer.plan.command import plan\n"
        f"plan({WORDS!r}, None, None, None); assert not {{'torch', 'verl', 'vllm', 'ray'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_table_goes_to_a_thousand_gpus_in_nodes_of_eight() -> None:
    made = plan(node())
    for regime in Regime:
        rows = scale(made, regime)
        assert [row.gpus for row in rows] == [4 * count for count in NODES]
        assert rows[0].time == made.time
        grown = [row.responses for row in rows]
        assert grown == ([512] * len(NODES) if regime is Regime.SAME_BATCH else [512 * count for count in NODES])


def test_the_bottleneck_moves_as_the_gpus_grow() -> None:
    """The same batch is left with its longest response, a growing one with the one driver; nodes may shard alone."""
    made = plan(node())
    same, grows, within = (scale(made, regime)[-1] for regime in Regime)
    assert same.bottleneck == "rollout: stragglers"
    assert grows.bottleneck == "data"
    assert within.time.communication <= grows.time.communication
    assert within.time.sync < grows.time.sync


def test_a_judge_that_is_slow_enough_becomes_the_bottleneck() -> None:
    from tr_grpo.trainer.plan.assumptions import Assumptions

    quick, slow = (plan(node(), assumed=Assumptions(reward_s=s)).time for s in (0.01, 60.0))
    assert quick.reward == 0.01
    # 512 responses by 8 processes, less what is judged during the rollout.
    assert slow.reward == pytest.approx(512 * 60 / 8 - slow.rollout.seconds)


def test_the_same_plan_draws_the_same_picture(tmp_path: Path) -> None:
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    draw(plan(node()), one)
    draw(plan(node()), two)
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(InputError, match="cannot be written"):
        draw(plan(node()), tmp_path / "no" / "folder.svg")
