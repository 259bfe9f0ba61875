"""One response judged by the training's own reward manager, with the answer that it read."""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from tr_grpo.analysis.evaluate.problems import Problem
from tr_grpo.analysis.evaluate.samples import Sample
from tr_grpo.reward.manager import ScoringError, VerdictRewardManager
from tr_grpo.reward.pool_worker import Judged
from tr_grpo.reward.trajectory import FIELD, Trajectory
from tr_grpo.reward.verdict import Verdict

_judged: ContextVar[Judged | None] = ContextVar("judged", default=None)


class Judge(VerdictRewardManager):
    """The same rules of truncation, scorer, pool and reward; keeps the judgement beside the numbers."""

    def __init__(self, config: DictConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)

    async def _judge(self, *arguments: Any) -> Judged:
        judged = await super()._judge(*arguments)
        _judged.set(judged)
        return judged

    async def sample(
        self, problem: Problem, number: int, greedy: bool, output: AgentLoopOutput, seconds: float
    ) -> Sample:
        """The judged response. A scorer that raises gives the verdict ``error`` and no score; its sample is written
        to ``scoring_errors-….jsonl`` as in training.

        seconds: that generating it took.
        """
        began = self.loop.time()
        told = output.extra_fields.get(FIELD)
        trajectory = None if told is None else Trajectory.of_plain(told)
        common = {
            "problem": problem.id,
            "data_source": problem.data_source,
            "part": problem.part,
            "sample": number,
            "greedy": greedy,
            "response": self.tokenizer.decode(output.response_ids, skip_special_tokens=True),
            "prompt_tokens": len(output.prompt_ids),
            "tokens": len(output.response_ids),
            "failed_searches": 0 if trajectory is None else trajectory.failed,
            "trajectory": None if told is None else json.dumps(told, ensure_ascii=False),
        }
        # Of an earlier response, were this not cleared.
        _judged.set(None)
        try:
            result = await self.run_single(data_of(problem, output))
        except ScoringError as error:
            judged = None
            common |= {"verdict": str(Verdict.ERROR), "score": None, "reason": str(error)}
            common |= {"truncated": False, "format_ok": False, "answer": None, "measures": "{}"}
        else:
            judged = _judged.get()
            assert judged is not None
            judgement, info = judged.judgement, result["reward_extra_info"]
            common |= {"verdict": str(judgement.verdict), "score": result["reward_score"], "reason": judgement.reason}
            common |= {"truncated": bool(info["overlong"]), "format_ok": judgement.format_ok}
            common |= {"answer": judgement.answer, "measures": json.dumps({**judgement.grades, **_measures(info)})}
        return Sample(**common, seconds=round(seconds + self.loop.time() - began, 3))


def _measures(info: dict[str, float]) -> dict[str, float]:
    """What the scorer measured, without what the other columns say."""
    known = ("acc", "format_ok", "overlong", "overlong_reward")
    return {name: value for name, value in info.items() if name not in known and not name.startswith("verdict_")}


def data_of(problem: Problem, output: AgentLoopOutput) -> DataProto:
    """What verl hands to a reward manager, of one response."""
    responses = torch.tensor([output.response_ids], dtype=torch.long)
    mask = torch.ones((1, len(output.prompt_ids) + len(output.response_ids)), dtype=torch.long)
    fields = {name: value for name, value in problem.row.items() if name != "prompt"}
    fields["tool_extra_fields"] = dict(output.extra_fields)
    plain = {name: np.array([value, None], dtype=object)[:1] for name, value in fields.items()}
    return DataProto.from_dict(tensors={"responses": responses, "attention_mask": mask}, non_tensors=plain)
