"""The agent loop in tags, with a scripted policy in place of vLLM and a real HTTP server: ids, masks, ends."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scripted import ScriptedPolicy, ScriptedServer, found, status
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap
from verl.utils.dataset.rl_dataset import RLHFDataset

from tr_grpo.data_prep.tiny_model.files import SHIPPED
from tr_grpo.reward.trajectory import FIELD, End, Trajectory
from tr_grpo.search.agent_loop import SearchTagLoop
from tr_grpo.search.client import shared_client
from tr_grpo.search.observation import FAILED, INVALID, encode_observation
from tr_grpo.search.settings import SearchSettings

TOKENIZER = AutoTokenizer.from_pretrained(SHIPPED)
QUESTION = [{"role": "user", "content": "Where was Ada born?"}]
PASSAGE = 'Doc 1(Title: "Ada") Ada was born in London.'


def encode(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def run(
    server: ScriptedServer,
    turns: Sequence[str | list[int]],
    *,
    length: int = 2000,
    logprobs: bool = True,
    **search: Any,
) -> tuple[AgentLoopOutput, ScriptedPolicy]:
    section = {"url": server.url, "max_turns": 2, "timeout_s": 10.0, "deadline_s": 30.0, **search}
    config = OmegaConf.create(
        {
            "search": section,
            "data": {},
            "actor_rollout_ref": {
                "rollout": {"prompt_length": 512, "response_length": length, "full_determinism": False}
            },
        }
    )
    policy = ScriptedPolicy([encode(turn) if isinstance(turn, str) else turn for turn in turns], logprobs)

    async def go() -> AgentLoopOutput:
        loop = SearchTagLoop(
            DictConfigWrap(config), policy, TOKENIZER, None, RLHFDataset, DictConfigWrap(config.data), "qwen2"
        )
        try:
            return await loop.run({"temperature": 1.0}, raw_prompt=QUESTION)
        finally:
            await shared_client(SearchSettings.read(section)).close()

    return asyncio.run(go()), policy


def trajectory(output: AgentLoopOutput) -> Trajectory:
    return Trajectory.of_plain(output.extra_fields[FIELD])


SEARCH, ANSWER = "<think> hm </think><search> Ada </search>", "<answer> London </answer>"


def test_a_search_and_an_answer(server: ScriptedServer) -> None:
    output, policy = run(server, [SEARCH, ANSWER])
    observation = encode_observation(TOKENIZER, PASSAGE, 500)
    assert output.response_ids == encode(SEARCH) + observation + encode(ANSWER)
    assert output.response_mask == [1] * len(encode(SEARCH)) + [0] * len(observation) + [1] * len(encode(ANSWER))
    own = [p for p, m in zip(output.response_logprobs, output.response_mask, strict=True) if m]
    assert own == [-1.0] * len(encode(SEARCH)) + [-2.0] * len(encode(ANSWER))
    assert {p for p, m in zip(output.response_logprobs, output.response_mask, strict=True) if not m} == {0.0}
    assert trajectory(output) == Trajectory((SEARCH, ANSWER), (PASSAGE,), 1, 0, 0, len(observation), End.STOPPED, "")
    assert output.num_turns == 4
    assert output.extra_fields["min_global_steps"] == 1
    assert output.extra_fields["max_global_steps"] == 2
    assert policy.requests[0]["stop"] == ["</search>", "</answer>"]
    assert len({request["id"] for request in policy.requests}) == 1  # one server, whose cache holds the earlier turns


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_ids_are_never_tokenised_again(server: ScriptedServer, data: st.DataObject) -> None:
    """Whatever ids the policy samples, also a spelling that no tokenizer would choose, each turn's prompt is the last
    one's, what was sampled, and the environment's ids, to the letter."""
    random_ids = st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30)
    letters = [token for character in "<search> Ada </search>" for token in encode(character)]
    turns = [data.draw(random_ids) + letters for _ in range(2)] + [data.draw(random_ids) + encode(ANSWER)]
    output, policy = run(server, turns)
    seen = output.prompt_ids
    for turn, request in zip(turns, policy.requests, strict=False):
        assert request["prompt"][: len(seen)] == seen
        seen = request["prompt"] + turn
    assert seen == output.prompt_ids + output.response_ids
    sampled = [token for token, own in zip(output.response_ids, output.response_mask, strict=True) if own]
    assert sampled == [token for turn in turns[: len(policy.requests)] for token in turn]


def test_the_last_turn_cannot_search(server: ScriptedServer) -> None:
    output, policy = run(server, [SEARCH] * 3)
    assert len(policy.requests) == 3  # max_turns=2 that may search, and one to answer
    assert trajectory(output).end is End.OUT_OF_TURNS
    assert trajectory(output).searches == 2
    assert output.response_mask[-1] == 1  # it never ends on what the environment wrote


def test_an_answer_at_once_needs_no_server(server: ScriptedServer) -> None:
    server.stop()
    output, _ = run(server, [ANSWER])
    assert trajectory(output) == Trajectory((ANSWER,), (), 0, 0, 0, 0, End.STOPPED, "")
    server.start()


def test_an_invalid_turn_is_corrected_or_ends_the_trajectory(server: ScriptedServer) -> None:
    output, _ = run(server, ["hm", ANSWER])
    assert output.response_ids == encode("hm") + encode(INVALID) + encode(ANSWER)
    assert trajectory(output).invalid == 1
    assert trajectory(output).observations == ()
    output, _ = run(server, ["hm", ANSWER], correct_invalid=False)
    assert output.response_ids == encode("hm")
    assert trajectory(output).end is End.STOPPED


def test_a_failed_search_is_marked_and_counted_and_never_empty(server: ScriptedServer) -> None:
    server.answers = [status(500, "broken")]
    output, _ = run(server, [SEARCH, ANSWER], timeout_s=0.5, deadline_s=1.0)
    assert FAILED in TOKENIZER.decode(output.response_ids)
    assert (trajectory(output).searches, trajectory(output).failed) == (1, 1)
    assert "broken" in trajectory(output).fault


def test_a_refused_query_is_the_policys_fault(server: ScriptedServer) -> None:
    server.answers = [status(422, "too long")]
    output, _ = run(server, [SEARCH, ANSWER])
    assert "Search refused" in trajectory(output).observations[0]
    assert (trajectory(output).failed, trajectory(output).invalid) == (0, 1)


@pytest.mark.parametrize("length", range(1, 90))
def test_no_length_limit_breaks_the_record(server: ScriptedServer, length: int) -> None:
    whole, _ = run(server, [SEARCH, ANSWER])
    output, policy = run(server, [SEARCH, ANSWER], length=length)
    assert 1 <= len(output.response_ids) <= length
    assert len(output.response_mask) == len(output.response_logprobs) == len(output.response_ids)
    assert output.response_ids == whole.response_ids[: len(output.response_ids)]
    assert output.response_mask[-1] == 1
    assert (trajectory(output).end is End.STOPPED) == (len(output.response_ids) == len(whole.response_ids))
    assert all(request["max_tokens"] >= 1 for request in policy.requests)


def test_a_turn_has_its_own_limit(server: ScriptedServer) -> None:
    _, policy = run(server, [SEARCH, ANSWER], length=100, max_turn_tokens=30)
    assert policy.requests[0]["max_tokens"] == 30
    assert all(request["max_tokens"] <= 30 for request in policy.requests)


def test_long_passages_are_cut_by_tokens(server: ScriptedServer) -> None:
    server.answers = [found('"Ada"\n' + "London " * 1000)]
    output, _ = run(server, [SEARCH, ANSWER], max_observation_tokens=70)
    assert trajectory(output).observation_tokens == 70
    assert TOKENIZER.decode(output.response_ids).count("</information>") == 1


def test_without_logprobs_there_are_none(server: ScriptedServer) -> None:
    output, _ = run(server, [SEARCH, ANSWER], logprobs=False)
    assert output.response_logprobs is None
