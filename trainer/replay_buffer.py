"""verl's replay buffer with a short poll, and an account of what it hands to the trainer.

verl waits for finished rollouts in sleeps of 2 s that no config reaches: up to 2 s of every step and every
validation, on a GPU as on a CPU. The buffer is also the one public seam where all trajectories of a batch
pass before training, so the verdicts are counted here (verl logs a reward's extra keys in validation only),
and a response without a reward (the scorer or the rollout raised, and verl pads it away) is seen here.

Selected by ``trainer.v1.sampler.custom_sampler``; verl builds a custom buffer without the arguments that
its own gets, so ``sampler_kwargs`` repeats them by interpolation (recipe/config/train.yaml).

For the same reason truncated responses are masked here, where ``reward.reward_kwargs.overlong.mode=mask`` asks for it,
responses whose search failed are masked always, and a run in which too many fail is stopped
(``search.max_failure_share``).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from tr_grpo.reward.trajectory import FIELD, Trajectory
from tr_grpo.trainer.silence import Silence, SilenceError

NOTHING_FINISHED = "no materializable trajectories"
"""verl's words for a batch whose responses all failed."""
SAME_REWARD = 1e-6
"""Rewards this near are one: verl's advantage divides by the deviation plus as much."""
# Options of verl's buffer that reach a custom one only through sampler_kwargs.
FORWARDED = ("poll_interval", "train_batch_size", "gen_batch_size", "sync_refill_failed_groups")


def forwarded_options(sampler_kwargs: Any) -> dict[str, Any]:
    """The arguments that verl gives its own buffer but not a custom one, from ``sampler_kwargs``.

    Mirrors ``PPOTrainer._build_replay_buffer`` of verl 0.9.1.
    """
    options = {name: sampler_kwargs[name] for name in FORWARDED}
    options["gen_batch_size"] = options["gen_batch_size"] or options["train_batch_size"]
    groups = sampler_kwargs.get("filter_groups")
    if groups and groups.get("enable"):
        options["filter_groups_metric"] = str(groups["metric"])
        options["max_inflight_gen_batches"] = groups.get("max_inflight_gen_batches", 1)
    if options["sync_refill_failed_groups"] or "filter_groups_metric" in options:
        options["gen_batch_size"] = 1  # verl refills prompt by prompt
    return options


class _Account:
    """Mixed into verl's buffers: counts verdicts and missing rewards of each sampled batch."""

    def __init__(self, *, sampler_kwargs: Any, **kwargs: Any) -> None:
        super().__init__(  # type: ignore[call-arg]
            sampler_kwargs=sampler_kwargs, **kwargs, **forwarded_options(sampler_kwargs)
        )
        self.max_unscored_share = float(sampler_kwargs["max_unscored_share"])
        self.mask_overlong = sampler_kwargs["overlong"] == "mask"
        self._silence = Silence(float(sampler_kwargs["max_silence_s"]))
        self.max_search_failure_share = float(sampler_kwargs["max_search_failure_share"])
        self.responses_per_prompt = {
            "train": int(sampler_kwargs["rollout_n"]),
            "val": int(sampler_kwargs["validation_n"]),
        }

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        """Sample as verl does, and add ``reward/…`` metrics.

        Args:
            global_steps: the trainer's step.
            partition_id: "train" or "val".
            batch_size: prompts to sample.

        Returns:
            verl's batch and metrics, plus the share of each verdict and of responses without a reward.

        Raises:
            RuntimeError: more than ``max_unscored_share`` of the responses have no reward, all of them are truncated
                and masked, more than ``max_search_failure_share`` of their searches failed, or none was finished for
                ``max_silence_s``.
        """
        expected = batch_size * self.responses_per_prompt[partition_id]
        try:
            batch, metrics = super().sample(global_steps, partition_id, batch_size)  # type: ignore[misc]
        except SilenceError as error:
            there = len(self.partitions[partition_id])  # type: ignore[attr-defined]
            raise RuntimeError(
                f"step {global_steps} ({partition_id}): {error}, with {there} of {expected} responses there: the "
                "reward or vLLM hangs. A scorer that can hang needs reward.reward_kwargs.pool; responses that take "
                "longer need trainer.v1.sampler.sampler_kwargs.max_silence_s"
            ) from error
        except RuntimeError as error:
            if NOTHING_FINISHED not in str(error):
                raise
            raise RuntimeError(
                f"step {global_steps} ({partition_id}): not one of {expected} responses has a reward: the scorer, a "
                "reward worker, an agent loop or vLLM raised or died; see scoring_errors-*.jsonl in the run "
                "folder, and the first error in the log above"
            ) from None
        sessions = {key.rsplit("_", 1)[0] for key in batch.keys}
        missing = max(expected - len(sessions), 0)
        if missing > self.max_unscored_share * expected:
            raise RuntimeError(
                f"step {global_steps} ({partition_id}): {missing} of {expected} responses have no reward "
                f"({missing / expected:.1%}, limit {self.max_unscored_share:.1%}): the scorer or the rollout raised; "
                "see scoring_errors-*.jsonl in the checkpoint folder and the log above"
            )
        fields = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields", "rm_scores"]
        )
        # What agent loop and reward manager tell of each row.
        extra_fields = list(fields["extra_fields"])
        _stop_if_searches_fail(extra_fields, self.max_search_failure_share, f"step {global_steps} ({partition_id})")
        if partition_id == "train":
            infos = [extra.get("reward_extra_info", {}) for extra in extra_fields]
            metrics = metrics | {
                "reward/unscored_share": missing / expected,
                "reward/groups_without_signal": groups_without_signal(batch.keys, fields["rm_scores"]),
            }
            metrics |= _means(infos)
            _mask(batch, infos, self.mask_overlong, global_steps)
        return batch, metrics

    def _sync_metadata_from_transfer_queue(self) -> None:
        """verl's look at what has been finished, which it takes at each poll."""
        super()._sync_metadata_from_transfer_queue()  # type: ignore[misc]
        statuses = (self.pending_keys, self.running_keys, self.finished_keys, self.failure_keys)  # type: ignore[attr-defined]
        self._silence.observe(
            tuple(
                (name, len(keys), *(len(status[name]) for status in statuses))
                for name, keys in sorted(self.partitions.items())  # type: ignore[attr-defined]
            )
        )


def groups_without_signal(keys: Sequence[str], rewards: torch.Tensor) -> float:
    """Share of prompts whose responses all have the same reward: their advantages are 0, and they teach nothing.

    Args:
        keys: verl's ``{uid}_{session}_{index}`` of each row.
        rewards: (rows, response_length), dense or jagged; a response's reward is the sum of its row.
    """
    scores: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for key, row in zip(keys, rewards.unbind(), strict=True):
        session, _ = key.rsplit("_", 1)
        # A session of several sequences has its reward in the last.
        scores[session.rsplit("_", 1)[0]][session] += float(row.sum())
    flat = [max(group.values()) - min(group.values()) < SAME_REWARD for group in scores.values()]
    return sum(flat) / len(flat) if flat else 0.0


def _stop_if_searches_fail(extra_fields: list[dict[str, Any]], limit: float, where: str) -> None:
    """A policy must not be trained on what it does when the search engine is away."""
    trajectories = [Trajectory.of_plain(extra[FIELD]) for extra in extra_fields if FIELD in extra]
    searches = sum(trajectory.searches for trajectory in trajectories)
    failed = [trajectory for trajectory in trajectories if trajectory.failed]
    failures = sum(trajectory.failed for trajectory in failed)
    if failures > limit * searches:
        raise RuntimeError(
            f"{where}: {failures} of {searches} searches failed ({failures / searches:.1%}, "
            f"search.max_failure_share is {limit:.1%}): {failed[-1].fault}; start the search server again, then the "
            "same command resumes from the last checkpoint"
        )


def _means(infos: list[dict[str, Any]]) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for info in infos:
        # A user's own reward may add text (the parsed answer); only numbers have a mean.
        totals.update({name: value for name, value in info.items() if isinstance(value, int | float)})
    return {f"reward/{name}": value / len(infos) for name, value in totals.items()}


def _mask(batch: Any, infos: list[dict[str, Any]], overlong: bool, step: int) -> None:
    """Zero the masks of what is not to be learned from: it leaves the loss and its denominator, not its group's mean.

    These are responses whose search failed and, where ``overlong`` asks for it, truncated ones.
    """
    unwanted = ("verdict_search_failed", "overlong") if overlong else ("verdict_search_failed",)
    keys = [key for key, info in zip(batch.keys, infos, strict=True) if any(info.get(name) for name in unwanted)]
    if infos and len(keys) == len(infos):
        if not all(info.get("overlong") for info in infos):
            raise RuntimeError(f"step {step}: failed searches leave no response to learn from; see the search server")
        raise RuntimeError(
            f"step {step}: every response ran into the length limit, and overlong.mode=mask leaves none to learn from; "
            "raise data.max_response_length, or choose reward.reward_kwargs.overlong.mode=penalize"
        )
    if not keys:
        return
    masks = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=["response_mask"])
    zeros = torch.zeros_like(masks["response_mask"])
    # verl keeps both, and counts the denominator of token-mean from loss_mask.
    fields = TensorDict({"response_mask": zeros, "loss_mask": zeros.clone()}, batch_size=len(keys))
    tq.kv_batch_put(keys=keys, partition_id=batch.partition_id, fields=fields)


class AccountingReplayBuffer(_Account, ReplayBuffer):
    """For the synchronous trainer."""


class AccountingReplayBufferAsync(_Account, ReplayBufferAsync):
    """For the asynchronous trainers."""


def replay_buffer(**kwargs: Any) -> ReplayBuffer:
    """The buffer for the configured trainer mode, called by verl with its constructor's arguments."""
    return (
        AccountingReplayBuffer(**kwargs) if kwargs["trainer_mode"] == "sync" else AccountingReplayBufferAsync(**kwargs)
    )
