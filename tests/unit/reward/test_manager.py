"""The verl reward manager: the same keys for every sample, and no failure that becomes a score."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager

from tr_grpo.reward.knights_knaves import examples
from tr_grpo.reward.manager import ScoringError, VerdictRewardManager
from tr_grpo.reward.pool_worker import Judged
from tr_grpo.reward.scorers import load_scorer, pick_rule
from tr_grpo.reward.trajectory import FIELD, End, Trajectory
from tr_grpo.reward.verdict import Judgement, Verdict
from tr_grpo.trainer.compose import compose

TRUTH = "(1) Mia is a knight\n(2) Noah is a knave"
RIGHT, WRONG = examples({"Mia": True, "Noah": False})
END = 0
LIMIT = 200


class Characters:
    """A tokenizer of one token a character; 0 ends the turn."""

    eos_token_id = END

    def decode(self, ids: torch.Tensor, skip_special_tokens: bool) -> str:
        return "".join(chr(i) for i in ids.tolist() if i != END or not skip_special_tokens)


@pytest.fixture
def manager(tmp_path: Path) -> VerdictRewardManager:
    config = compose([f"trainer.default_local_dir={tmp_path}", f"data.max_response_length={LIMIT}"])
    OmegaConf.resolve(config)
    loaded = load_reward_manager(config, Characters())
    assert type(loaded).__name__ == "VerdictRewardManager"
    return loaded


def judged(
    manager: VerdictRewardManager, response: str, truth: Any = TRUTH, end: bool = True, **further: Any
) -> dict[str, Any]:
    ids = [ord(character) for character in response] + ([END] if end else [])
    padding = 5
    batch = TensorDict(
        {
            "responses": torch.tensor([ids + [END] * padding]),
            "attention_mask": torch.tensor([[1] * (3 + len(ids)) + [0] * padding]),
        },
        batch_size=1,
    )
    fields = {
        "reward_model": np.array([{"ground_truth": truth}], dtype=object),
        "data_source": np.array(["knights_knaves"], dtype=object),
        "extra_info": np.array([{"index": 4}], dtype=object),
    } | {name: np.array([value], dtype=object) for name, value in further.items()}
    return asyncio.run(manager.run_single(DataProto(batch=batch, non_tensor_batch=fields)))


@pytest.mark.parametrize(
    ("response", "end", "verdict", "reward"),
    [
        (RIGHT, True, "right", 1.1),
        (WRONG, True, "wrong", 0.1),
        ("<think>x</think><answer>who knows</answer>", True, "unparsable", 0.1),
        ("Mia is a knight", True, "malformed", 0.0),
        ("<think>" + "x" * (LIMIT - 7), False, "truncated", 0.0),
        ("", True, "malformed", 0.0),
    ],
)
def test_each_verdict_has_its_reward_and_the_same_keys(
    manager: VerdictRewardManager, response: str, end: bool, verdict: str, reward: float
) -> None:
    result = judged(manager, response, end=end)
    info = result["reward_extra_info"]
    assert result["reward_score"] == pytest.approx(reward)
    assert [key for key, value in info.items() if key.startswith("verdict_") and value] == [f"verdict_{verdict}"]
    assert list(info) == list(judged(manager, RIGHT)["reward_extra_info"])
    assert info["acc"] == float(verdict == "right")


def test_a_full_length_response_that_ended_is_not_truncated(manager: VerdictRewardManager) -> None:
    filler = "x" * (LIMIT - len(RIGHT) - 1)
    assert judged(manager, RIGHT + filler)["reward_extra_info"]["verdict_right"] == 1.0


def test_a_response_at_the_limit_is_counted_and_penalized_if_asked(tmp_path: Path) -> None:
    options = ["reward.reward_kwargs.overlong.mode=penalize", "reward.reward_kwargs.overlong.penalty=2"]
    config = compose([f"trainer.default_local_dir={tmp_path}", f"data.max_response_length={LIMIT}", *options])
    OmegaConf.resolve(config)
    manager = load_reward_manager(config, Characters())
    cut = judged(manager, "<think>" + "x" * (LIMIT - 7), end=False)
    assert cut["reward_score"] == pytest.approx(0.0 - 2.0)
    assert cut["reward_extra_info"]["overlong"] == 1.0
    assert cut["reward_extra_info"]["overlong_reward"] == pytest.approx(-2.0)
    short = judged(manager, RIGHT)
    assert short["reward_score"] == pytest.approx(1.1)
    assert (short["reward_extra_info"]["overlong"], short["reward_extra_info"]["overlong_reward"]) == (0.0, 0.0)


def test_judging_that_failed_keeps_a_reward_is_counted_and_written(
    manager: VerdictRewardManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Judgement(Verdict.ERROR, False, None, "RecursionError in the parser")
    monkeypatch.setattr(manager.scorer, "judge", lambda *args, **kwargs: failed)
    result = judged(manager, RIGHT)
    assert result["reward_score"] == 0.0
    assert result["reward_extra_info"]["verdict_error"] == 1.0
    (path,) = tmp_path.glob("scoring_errors-*.jsonl")
    assert json.loads(path.read_text())["error"] == "RecursionError in the parser"


def test_judge_takes_its_options_from_the_config(tmp_path: Path) -> None:
    option = "+reward.reward_kwargs.judge_kwargs.thinking_prefilled=true"
    config = compose([f"trainer.default_local_dir={tmp_path}", option])
    OmegaConf.resolve(config)
    prefilled = RIGHT.removeprefix("<think>")
    result = judged(load_reward_manager(config, Characters()), prefilled)
    assert result["reward_extra_info"]["verdict_right"] == 1.0


def test_an_exception_is_written_with_its_sample_and_raised(manager: VerdictRewardManager, tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="scoring_errors"):
        judged(manager, RIGHT, truth="nobody knows")
    (path,) = tmp_path.glob("scoring_errors-*.jsonl")
    record = json.loads(path.read_text())
    assert record["response"] == RIGHT
    assert record["ground_truth"] == "nobody knows"
    assert record["extra_info"] == {"index": 4}
    assert "ValueError" in record["error"]


def test_unknown_scorer_and_rule_say_what_there_is() -> None:
    scorer = load_scorer("tr_grpo.reward.knights_knaves")
    with pytest.raises(ValueError, match="logic_rl, tiny"):
        pick_rule(scorer, "other")
    with pytest.raises(ValueError, match="cannot be imported"):
        load_scorer("no.such.module")
    with pytest.raises(ValueError, match="lacks DATA_SOURCES, parse_solution"):
        load_scorer("json")


@pytest.fixture
def math_manager(tmp_path: Path) -> Iterator[VerdictRewardManager]:
    """task=math with its pool, here of this process; a time limit that a busy machine cannot reach by chance."""
    config = compose(
        [
            "task=math",
            "llm=qwen2_5_7b",
            f"trainer.default_local_dir={tmp_path}",
            "reward.reward_kwargs.pool.time_limit=20",
        ]
    )
    OmegaConf.resolve(config)
    loaded = load_reward_manager(config, Characters())
    assert loaded.pool is not None
    yield loaded
    loaded.pool.close()


def test_mathematics_is_judged_here_where_it_is_quick_and_in_the_pool_where_not(
    math_manager: VerdictRewardManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = math_manager.pool.judge

    async def watched(response: str, *rest: Any) -> Judged:
        asked.append(response)
        return await ask(response, *rest)

    monkeypatch.setattr(math_manager.pool, "judge", watched)
    quick, slow, wrong = r"\boxed{0.5}", r"\boxed{\frac{\sqrt{2}}{2}}", r"\boxed{\sqrt{2}}"
    assert judged(math_manager, quick, r"\frac{1}{2}")["reward_score"] == 1.0
    assert asked == []
    assert judged(math_manager, slow, r"\frac{1}{\sqrt{2}}")["reward_score"] == 1.0
    assert judged(math_manager, wrong, r"\frac{1}{\sqrt{2}}")["reward_score"] == 0.0
    assert asked == [slow, wrong]


def test_a_scorer_of_trajectories_judges_the_policys_own_words_and_logs_its_measures(tmp_path: Path) -> None:
    config = compose(
        ["task=facts", "llm=tiny_facts", f"trainer.default_local_dir={tmp_path}", f"data.max_response_length={LIMIT}"]
    )
    OmegaConf.resolve(config)
    manager = load_reward_manager(config, Characters())
    truth = {"target": ["London"]}
    told = Trajectory(("<search>Ada</search>", "<answer>Paris</answer>"), ("London",), 1, 0, 0, 6, End.STOPPED)

    # What the environment wrote may say anything; the answer is the policy's last turn.
    text = "<search>Ada</search><information><answer>London</answer></information><answer>Paris</answer>"
    result = judged(manager, text, truth, tool_extra_fields={FIELD: told.plain()})
    assert result["reward_score"] == 0.0
    info = result["reward_extra_info"]
    assert (info["verdict_wrong"], info["searches"], info["answer_seen"], info["observation_tokens"]) == (1, 1, 1, 6)

    # Cut off by the loop, whose observation left no room: truncated, though the response is below its limit.
    cut = replace(told, turns=told.turns[:1], observations=(), end=End.TRUNCATED)
    info = judged(manager, "<search>Ada</search>", truth, tool_extra_fields={FIELD: cut.plain()})["reward_extra_info"]
    assert (info["verdict_truncated"], info["overlong"]) == (1, 1)

    # The same keys for a response of a loop that tells of no trajectory.
    other = judged(manager, "<answer>London</answer>", truth)
    assert other["reward_score"] == 1.0
    assert other["reward_extra_info"].keys() == info.keys()


def test_trajectories_are_not_judged_in_a_pool_that_does_not_get_them(tmp_path: Path) -> None:
    config = compose(["task=facts", "llm=tiny_facts", f"trainer.default_local_dir={tmp_path}"])
    OmegaConf.update(config, "reward.reward_kwargs.pool", {"workers": 1}, force_add=True)
    OmegaConf.resolve(config)
    with pytest.raises(ValueError, match=r"pool=null"):
        load_reward_manager(config, Characters())
