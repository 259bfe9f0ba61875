"""verl's reward manager around a pure scorer: every verdict is counted, no failure becomes a score.

The scorer (:mod:`tr_grpo.reward.scorers`) is named in the config, so a new task changes nothing here::

    reward.reward_kwargs:
      scorer: tr_grpo.reward.knights_knaves   # module path
      rule: logic_rl                          # key of its RULES
      judge_kwargs: {}                        # further arguments of its judge()
      pool: null                              # or PoolSettings: judge() runs in processes that can be killed
      overlong: {mode: count}                 # what is done about responses at the length limit
      error_folder: checkpoints/...           # where failing samples are written
"""

import json
import os
import socket
import traceback
from pathlib import Path
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from tr_grpo.reward.node_pool import open_pool
from tr_grpo.reward.overlong import Overlong
from tr_grpo.reward.pool import PoolSettings
from tr_grpo.reward.pool_worker import Judged
from tr_grpo.reward.scorers import load_scorer, pick_rule
from tr_grpo.reward.trajectory import FIELD, End, Trajectory
from tr_grpo.reward.verdict import Judgement, Verdict


class ScoringError(RuntimeError):
    """The scorer raised: the response has no reward, and verl leaves it out of the batch."""


def extra_info(judgement: Judgement, truncated: bool, overlong_reward: float) -> dict[str, float]:
    """What verl logs of a response: the same keys for every sample, because verl reads them off the first."""
    info = {"acc": float(judgement.verdict is Verdict.RIGHT), "format_ok": float(judgement.format_ok)}
    info |= {"overlong": float(truncated), "overlong_reward": overlong_reward}
    return info | {f"verdict_{verdict}": float(judgement.verdict is verdict) for verdict in Verdict}


class VerdictRewardManager(RewardManagerBase):
    """Judges one response at a time with the configured scorer and rule.

    An exception in scoring is written with its sample to ``scoring_errors-<host>-<pid>.jsonl`` and raised.
    verl then drops the response; the replay buffer counts those without a reward and stops the run past
    ``trainer.v1.sampler.sampler_kwargs.max_unscored_share``. A response whose *judging* failed (verdict ``error``)
    keeps the reward of its rule, is counted, and is written to the same file.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        kwargs = config.reward.reward_kwargs
        self.scorer = load_scorer(kwargs.scorer)
        self.rule = pick_rule(self.scorer, kwargs.rule)
        self.judge_kwargs = dict(kwargs.get("judge_kwargs") or {})
        if kwargs.get("pool") is not None and hasattr(self.scorer, "measure"):
            raise ValueError(
                f"{kwargs.scorer} judges trajectories, in bounded time: set reward.reward_kwargs.pool=null"
            )
        # Starts now, in the background, so that it is warm when the first responses come.
        self.pool = open_pool(kwargs.scorer, PoolSettings.read(kwargs.pool)) if kwargs.get("pool") is not None else None
        self.overlong = Overlong(**(kwargs.get("overlong") or {}))
        self.error_file = Path(kwargs.error_folder) / f"scoring_errors-{socket.gethostname()}-{os.getpid()}.jsonl"
        self.response_limit = config.actor_rollout_ref.rollout.response_length

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Judge the last sequence of ``data`` (a trajectory may have several; the last holds the answer).

        Returns:
            ``{"reward_score": float, "reward_extra_info": {...}}`` with the same extra keys for every sample.

        Raises:
            ScoringError: the ground truth or the scorer failed.
        """
        item = data[-1:][0]
        ids = item.batch["responses"]
        ids = ids[: int(item.batch["attention_mask"][-ids.shape[-1] :].sum())]
        # Special tokens (end of turn, padding) are the tokenizer's, not the answer's.
        response = self.tokenizer.decode(ids, skip_special_tokens=True)
        truncated = len(ids) >= self.response_limit and int(ids[-1]) != self.tokenizer.eos_token_id
        ground_truth = item.non_tensor_batch["reward_model"]["ground_truth"]
        try:
            known = self._trajectory(item.non_tensor_batch)
            truncated = truncated or any(told is not None and told.end is End.TRUNCATED for told in known.values())
            judgement, details = await self._judge(response, ground_truth, truncated, known)
            reward = float(self.scorer.score(judgement, self.rule))
            measures = self._measures(ground_truth, judgement, known)
        except Exception as error:
            fault = "".join(traceback.format_exception(error))
            self._record(fault, response, ground_truth, item.non_tensor_batch)
            raise ScoringError(f"{type(error).__name__}: {error} (sample written to {self.error_file})") from error
        if judgement.verdict is Verdict.ERROR:
            self._record(details or judgement.reason, response, ground_truth, item.non_tensor_batch)
        overlong_reward = self.overlong.reward(len(ids), self.response_limit)
        info = extra_info(judgement, truncated, overlong_reward) | measures
        return {"reward_score": reward + overlong_reward, "reward_extra_info": info}

    async def _judge(
        self, response: str, ground_truth: Any, truncated: bool, known: dict[str, Trajectory | None]
    ) -> Judged:
        """In this process what takes no time; in the node's pool what may, so that the event loop never waits."""
        solution = self.scorer.parse_solution(ground_truth)
        if self.pool is None:
            return Judged(self.scorer.judge(response, solution, truncated=truncated, **known, **self.judge_kwargs))
        quick = getattr(self.scorer, "judge_quickly", None)
        judgement = quick(response, solution, truncated=truncated, **self.judge_kwargs) if quick else None
        if judgement is not None:
            return Judged(judgement)
        return await self.pool.judge(response, ground_truth, truncated, self.judge_kwargs)

    def _trajectory(self, fields: dict[str, Any]) -> dict[str, Trajectory | None]:
        """The keyword ``trajectory`` for a scorer that measures them; None without an agent loop that tells of it."""
        if not hasattr(self.scorer, "measure"):
            return {}
        plain = (fields.get("tool_extra_fields") or {}).get(FIELD)
        return {"trajectory": None if plain is None else Trajectory.of_plain(plain)}

    def _measures(
        self, ground_truth: Any, judgement: Judgement, known: dict[str, Trajectory | None]
    ) -> dict[str, float]:
        if not known:
            return {}
        return self.scorer.measure(self.scorer.parse_solution(ground_truth), judgement, **known)

    def _record(self, fault: str, response: str, ground_truth: Any, fields: dict[str, Any]) -> None:
        self.error_file.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "error": fault,
            "response": response,
            "ground_truth": ground_truth,
            "data_source": fields.get("data_source"),
            "extra_info": fields.get("extra_info"),
        }
        with self.error_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
