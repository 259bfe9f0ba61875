"""verl's agent loop in Search-R1's tags: the policy writes ``<search>``, the loop answers with ``<information>``.

Token ids only ever grow: what the policy sampled stays as sampled, an observation's ids are appended, and nothing is
tokenised again. The response mask is 1 on the policy's tokens and 0 on everything the environment wrote, so verl
leaves the latter out of the loss, and so do the token weight and its diagnostics.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.utils.profiler import simple_timer

from tr_grpo.reward.trajectory import FIELD, End
from tr_grpo.search.client import shared_client
from tr_grpo.search.observation import INVALID, encode_observation
from tr_grpo.search.recorder import Recorder, extra_fields
from tr_grpo.search.searching import search_text
from tr_grpo.search.settings import SearchSettings
from tr_grpo.search.turns import STOPS, Answer, Invalid, Search, read_turn


class SearchTagLoop(AgentLoopBase):
    """At most ``search.max_turns`` turns that may search, then one more to answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = SearchSettings.read(self.config.search)
        self.response_length: int = self.rollout_config.response_length

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """One trajectory for the prompt ``kwargs["raw_prompt"]``; its length is at most ``response_length``."""
        prompt_ids: list[int] = await self.ct_build_initial_tokens(list(kwargs["raw_prompt"]))
        record, timings, outputs = Recorder(), {"generate_sequences": 0.0, "tool_calls": 0.0}, []
        # One id for the whole trajectory: verl keeps it on one server, whose cache holds the earlier turns.
        request_id = f"det-{priority}" if self.rollout_config.full_determinism else uuid4().hex
        end: End | None = None
        while end is None:
            room = self.response_length - len(record.ids)
            with simple_timer("generate_sequences", timings):
                output = await self.server_manager.generate(
                    request_id=request_id,
                    prompt_ids=prompt_ids + record.ids,
                    sampling_params=sampling_params
                    | {
                        "max_tokens": min(self.settings.max_turn_tokens or room, room),
                        "stop": list(STOPS),
                        "include_stop_str_in_output": True,
                    },
                    priority=int(priority),
                )
            outputs.append(output)
            text = self.tokenizer.decode(output.token_ids, skip_special_tokens=True)
            record.policy(output.token_ids, output.log_probs, text)
            action = read_turn(text)
            end = self._end(action, record)
            if end is None:
                with simple_timer("tool_calls", timings):
                    ids = await self._environment(action, record)
                if len(record.ids) + len(ids) < self.response_length:
                    record.environment(ids)
                else:
                    # No token would be left for the policy, and what it cannot act on teaches nothing.
                    end = End.TRUNCATED
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=record.ids,
            response_mask=record.mask,
            response_logprobs=record.logprobs,
            multi_modal_data={},
            # Of the last turn, whose prefix is everything before it.
            routed_experts=outputs[-1].routed_experts,
            # The user's message, the policy's turns and the answers to them.
            num_turns=2 * len(record.turns),
            metrics=AgentLoopMetrics(**timings, num_preempted=_preempted(outputs)),
            extra_fields=extra_fields([output.extra_fields for output in outputs])
            | {FIELD: record.trajectory(end).plain()},
        )

    def _end(self, action: Search | Answer | Invalid, record: Recorder) -> End | None:
        """Why the trajectory ends with the turn just recorded, or None where it goes on."""
        if isinstance(action, Answer):
            return End.STOPPED
        if len(record.ids) >= self.response_length:
            return End.TRUNCATED
        if isinstance(action, Invalid) and not self.settings.correct_invalid:
            return End.STOPPED
        return End.OUT_OF_TURNS if len(record.turns) > self.settings.max_turns else None

    async def _environment(self, action: Search | Answer | Invalid, record: Recorder) -> list[int]:
        """What the environment writes after the turn, as token ids."""
        if not isinstance(action, Search):
            record.invalid += 1
            return self.tokenizer.encode(INVALID, add_special_tokens=False)
        body = await search_text(shared_client(self.settings), action.query, record)
        return encode_observation(self.tokenizer, body, self.settings.max_observation_tokens)


def _preempted(outputs: list[Any]) -> int:
    """Times that vLLM set the trajectory aside for want of memory; -1 where it does not say (verl's convention)."""
    counts = [output.num_preempted for output in outputs if output.num_preempted is not None]
    return sum(counts) if counts else -1
