"""verl's tool agent loop with the search tool in it, and the same account of the trajectory as the tag loop's."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import Any

from omegaconf import OmegaConf
from transformers import PreTrainedTokenizerBase
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, ToolListWrap
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop

from tr_grpo.reward.trajectory import FIELD, End
from tr_grpo.search.recorder import Recorder
from tr_grpo.search.settings import SearchSettings
from tr_grpo.search.tool import RECORD, SearchTool

_tools: dict[SearchSettings, SearchTool] = {}


def search_tool(section: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> SearchTool:
    """The process's tool for these settings: verl makes an agent loop a trajectory, and a new tool prints itself."""
    settings = SearchSettings.read(section)
    if settings not in _tools:
        values = {key: value for key, value in section.items() if key != "max_failure_share"}
        _tools[settings] = SearchTool(values, tokenizer=tokenizer)
    return _tools[settings]


class SearchToolLoop(ToolAgentLoop):
    """At most ``search.max_turns`` turns that may call tools, then one more to answer.

    The user's own tools (``rollout.multi_turn``) stay beside the search tool.
    """

    def __init__(self, *args: Any, tools: ToolListWrap | None = None, **kwargs: Any) -> None:
        section = OmegaConf.to_container(kwargs["trainer_config"].config.search, resolve=True)
        assert isinstance(section, dict)
        tool = search_tool({str(key): value for key, value in section.items()}, kwargs["tokenizer"])
        super().__init__(*args, tools=ToolListWrap([*(tools.tools if tools else []), tool]), **kwargs)
        self.max_turn_tokens = tool.settings.max_turn_tokens
        self.max_assistant_turns = tool.settings.max_turns + 1
        self.max_user_turns = None
        # verl cuts by characters, by default at 256; the tool has cut by tokens already.
        self.max_tool_response_length = sys.maxsize

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """verl's run, with the trajectory added to ``extra_fields``."""
        if self.max_turn_tokens is not None:
            sampling_params = sampling_params | {"max_tokens": self.max_turn_tokens}
        output: AgentLoopOutput = await super().run(sampling_params, priority, **kwargs)
        record: Recorder = output.extra_fields.pop(RECORD, None) or Recorder()
        record.mask = output.response_mask
        turns = policy_turns(output.response_ids, output.response_mask)
        record.turns = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in turns]
        output.extra_fields[FIELD] = record.trajectory(await self._end(output, turns[-1])).plain()
        return output

    async def _end(self, output: AgentLoopOutput, last_turn: list[int]) -> End:
        if len(output.response_ids) >= self.response_length:
            return End.TRUNCATED
        _, calls = await self.tool_parser.extract_tool_calls(
            last_turn, [tool.tool_schema for tool in self.tools.values()]
        )
        if not calls:
            return End.STOPPED
        turns = len(policy_turns(output.response_ids, output.response_mask))
        # verl drops an observation that leaves no room for another turn.
        return End.OUT_OF_TURNS if turns >= self.max_assistant_turns else End.TRUNCATED

    async def _call_tool(self, tool_call: Any, tools_kwargs: dict[str, Any], agent_data: Any) -> Any:
        """verl's call; one that no tool carried out (unknown name, broken arguments) counts as an invalid turn."""
        response, reward, metrics = await super()._call_tool(tool_call, tools_kwargs, agent_data)
        if tool_call.name not in self.tools or (isinstance(self.tools[tool_call.name], SearchTool) and not metrics):
            agent_data.extra_fields.setdefault(RECORD, Recorder()).invalid += 1
        return response, reward, metrics


def policy_turns(ids: list[int], mask: list[int]) -> list[list[int]]:
    """The runs of ``ids`` that the policy sampled (mask 1), in order."""
    runs = groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1])
    return [[token for token, _ in run] for own, run in runs if own]
