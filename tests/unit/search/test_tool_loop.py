"""Native tool calling: verl's tool agent loop with our tool, a scripted policy and a real HTTP server."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from omegaconf import OmegaConf
from scripted import ScriptedPolicy, ScriptedServer, found, status
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap, ToolListWrap
from verl.tools.tool_registry import initialize_tools_from_config
from verl.utils.dataset.rl_dataset import RLHFDataset

from tr_grpo.data_prep.tiny_model.files import SHIPPED
from tr_grpo.reward.trajectory import FIELD, End, Trajectory
from tr_grpo.search import tool_loop
from tr_grpo.search.client import shared_client
from tr_grpo.search.observation import FAILED
from tr_grpo.search.tool import SearchTool
from tr_grpo.search.tool_loop import SearchToolLoop, policy_turns

# The shape of Qwen2.5's template: tools in the system message, calls and responses in tags.
TEMPLATE = """{%- if tools %}{{- '<|im_start|>system\\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}
{{- '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- for call in message.tool_calls or [] %}{{- '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\\n' }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""
TOKENIZER = AutoTokenizer.from_pretrained(SHIPPED)
TOKENIZER.chat_template = TEMPLATE
END = "<|im_end|>"
ANSWER = f"<answer> London </answer>{END}"


def call(query: Any, name: str = "search", key: str = "query") -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': {key: query}})}\n</tool_call>{END}"


def run(
    server: ScriptedServer, turns: Sequence[str], *, length: int = 4000, **search: Any
) -> tuple[AgentLoopOutput, ScriptedPolicy]:
    section = {
        "url": server.url,
        "max_turns": 2,
        "timeout_s": 0.5,
        "deadline_s": 1.0,
        "max_failure_share": 0.1,
    } | search
    multi_turn = {"max_user_turns": None, "max_assistant_turns": None, "max_parallel_calls": 1, "format": "hermes"}
    multi_turn |= {"max_tool_response_length": 256, "tool_response_truncate_side": "middle"}
    rollout = {"prompt_length": 2000, "response_length": length, "full_determinism": False, "multi_turn": multi_turn}
    config = OmegaConf.create({"search": section, "data": {}, "actor_rollout_ref": {"rollout": rollout}})
    policy = ScriptedPolicy([TOKENIZER.encode(turn, add_special_tokens=False) for turn in turns], logprobs=True)

    async def go() -> AgentLoopOutput:
        loop = SearchToolLoop(
            trainer_config=DictConfigWrap(config), server_manager=policy, tokenizer=TOKENIZER, processor=None,
            dataset_cls=RLHFDataset, data_config=DictConfigWrap(config.data), hf_model_type="qwen2",
            tools=ToolListWrap([]),
        )  # fmt: skip
        (tool,) = loop.tools.values()
        try:
            return await loop.run({"temperature": 1.0}, raw_prompt=[{"role": "user", "content": "Where was Ada born?"}])
        finally:
            await shared_client(tool.settings).close()

    return asyncio.run(go()), policy


def trajectory(output: AgentLoopOutput) -> Trajectory:
    return Trajectory.of_plain(output.extra_fields[FIELD])


def test_a_call_is_answered_in_the_models_own_template(server: ScriptedServer) -> None:
    output, policy = run(server, [call("Ada"), ANSWER])
    told = trajectory(output)
    assert told.turns == (call("Ada").removesuffix(END), ANSWER.removesuffix(END))
    assert told.observations == ('Doc 1(Title: "Ada") Ada was born in London.',)
    assert (told.searches, told.failed, told.invalid, told.end) == (1, 0, 0, End.STOPPED)
    assert '"name": "search"' in TOKENIZER.decode(policy.requests[0]["prompt"])
    between = [token for token, own in zip(output.response_ids, output.response_mask, strict=True) if not own]
    assert TOKENIZER.decode(between).strip("\n") == (
        f"<|im_start|>user\n<tool_response>\n{told.observations[0]}\n</tool_response>{END}\n<|im_start|>assistant"
    )
    assert told.observation_tokens == len(between)


def test_ids_are_never_tokenised_again(server: ScriptedServer) -> None:
    output, policy = run(server, [call("Ada"), call("Bob"), ANSWER])
    for earlier, later in zip(policy.requests, policy.requests[1:], strict=False):
        assert later["prompt"][: len(earlier["prompt"])] == earlier["prompt"]
    sampled = [token for token, own in zip(output.response_ids, output.response_mask, strict=True) if own]
    assert sampled == [
        token
        for turn in (call("Ada"), call("Bob"), ANSWER)
        for token in TOKENIZER.encode(turn, add_special_tokens=False)
    ]


def test_turns_are_limited(server: ScriptedServer) -> None:
    output, policy = run(server, [call("Ada")] * 5)
    assert len(policy.requests) == 3
    assert trajectory(output).searches == 2
    assert trajectory(output).end is End.OUT_OF_TURNS


def test_passages_are_cut_by_tokens_not_at_256_characters(server: ScriptedServer) -> None:
    text = "Ada was born in London. " * 100
    server.answers = [found(f'"Ada"\n{text}')]
    output, _ = run(server, [call("Ada"), ANSWER], max_observation_tokens=3000)
    assert text.strip() in TOKENIZER.decode(output.response_ids)
    output, _ = run(server, [call("Ada"), ANSWER], max_observation_tokens=50)
    assert 50 <= trajectory(output).observation_tokens <= 50 + 80  # and the template's own tokens


@pytest.mark.parametrize("broken", [call(3), call(""), call("x", key="q"), call("x", name="google")])
def test_a_call_that_nothing_can_carry_out_counts_as_invalid(server: ScriptedServer, broken: str) -> None:
    output, _ = run(server, [broken, ANSWER])
    told = trajectory(output)
    assert (told.searches, told.failed, told.invalid) == (0, 0, 1)
    assert server.bodies == []


def test_a_failed_search_is_marked_and_counted(server: ScriptedServer) -> None:
    server.answers = [status(500, "broken")]
    output, _ = run(server, [call("Ada"), ANSWER], timeout_s=0.5, deadline_s=1.0)
    assert (trajectory(output).searches, trajectory(output).failed) == (1, 1)
    assert FAILED in TOKENIZER.decode(output.response_ids)


@pytest.mark.parametrize("length", [1, 40, 100, 200, 300])
def test_length_limits_end_in_truncated(server: ScriptedServer, length: int) -> None:
    whole, _ = run(server, [call("Ada"), ANSWER])
    output, _ = run(server, [call("Ada"), ANSWER], length=length)
    assert len(output.response_ids) <= length
    cut = len(output.response_ids) < len(whole.response_ids)
    assert (trajectory(output).end is End.TRUNCATED) == cut


def test_verl_loads_the_tool_from_a_tool_file(tmp_path, server: ScriptedServer) -> None:
    file = tmp_path / "tools.yaml"
    config = {"type": "native", "url": server.url, "tokenizer": str(SHIPPED)}
    file.write_text(json.dumps({"tools": [{"class_name": "tr_grpo.search.tool.SearchTool", "config": config}]}))
    (tool,) = initialize_tools_from_config(str(file))
    assert isinstance(tool, SearchTool)
    assert tool.name == "search"


def test_one_tool_for_all_trajectories_of_a_process() -> None:
    section = {"url": "http://127.0.0.1:1", "top_k": 3}
    assert tool_loop.search_tool(dict(section), TOKENIZER) is tool_loop.search_tool(dict(section), TOKENIZER)


def test_policy_turns_are_the_runs_of_ones() -> None:
    assert policy_turns([1, 2, 3, 4, 5], [1, 1, 0, 0, 1]) == [[1, 2], [5]]
    assert policy_turns([], []) == []
