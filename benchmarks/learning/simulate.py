"""One run: the start model, ``steps`` times sample, judge, and two clipped updates; the loss is the method's."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from benchmarks.learning.evaluate import evaluate, texts
from benchmarks.learning.policy import Rollout, generate, log_probs
from benchmarks.learning.settings import Run, Settings
from benchmarks.learning.tokens import BANDS, Kinds, Mass, bands
from benchmarks.learning.world import World
from tr_grpo.data_prep.knights_knaves import Puzzle
from tr_grpo.data_prep.tiny_model.examples import chat_text
from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, token_weights
from tr_grpo.recipe.sharpness import ascent
from tr_grpo.reward.knights_knaves import RULES, judge, score

Row = dict[str, float]


@dataclass
class Batch:
    """A mini-batch: rows of a rollout with what the loss needs.

    Attributes:
        rollout: R responses; their ``log_probs`` are the old policy's.
        advantages: GRPO's, (R, T).
    """

    rollout: Rollout
    advantages: Tensor


class Simulator:
    """A policy under training."""

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        actor: FSDPActorConfig,
        lr: float,
        seed: int,
        settings: Settings,
    ) -> None:
        self.model, self.tokenizer, self.actor, self.seed, self.settings = model, tokenizer, actor, seed, settings
        self.kinds = Kinds(tokenizer)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=lr, betas=settings.betas, weight_decay=settings.weight_decay
        )
        self.plain = Run("grpo", lr, seed).actor(settings)

    def sample(self, number: int, puzzles: Sequence[Puzzle]) -> tuple[Batch, Tensor]:
        """Responses to ``puzzles`` with their advantages, and their rewards (R,); ``number`` chooses the noise."""
        rollout = generate(
            self.model,
            self.tokenizer,
            [chat_text(self.tokenizer, puzzle) for puzzle in puzzles],
            self.settings.responses,
            self.settings.response_tokens,
            torch.Generator().manual_seed(1_000_003 * self.seed + number),
        )
        rewards = self._rewards(rollout, puzzles)
        advantages, _ = compute_grpo_outcome_advantage(
            token_level_rewards=_at_end(rewards, rollout.response_mask),
            response_mask=rollout.response_mask.float(),
            index=np.arange(len(rewards)) // self.settings.responses,
        )
        return Batch(rollout, advantages), rewards

    def step(self, number: int, puzzles: Sequence[Puzzle]) -> Row:
        """Sample responses to ``puzzles``, judge them, update; the step's metrics. ``number`` counts from 1."""
        whole, rewards = self.sample(number, puzzles)
        size = self.settings.mini_batch * self.settings.responses
        batches = [
            Batch(_rows(whole.rollout, slice(start, start + size)), whole.advantages[start : start + size])
            for start in range(0, len(rewards), size)
        ]
        row = _sampled(whole.rollout, rewards)
        if number % self.settings.probe_every == 1 % self.settings.probe_every:
            row |= self._probe(batches[0])
        updates = [self._update(batch) for batch in batches]
        row |= {key: sum(u[key] for u in updates) / len(updates) for key in updates[0]}
        return row | {f"grad_norm_{i}": update["grad_norm"] for i, update in enumerate(updates, 1)}

    def _rewards(self, rollout: Rollout, puzzles: Sequence[Puzzle]) -> Tensor:
        """The rule ``tiny`` of each response, (R,)."""
        found = []
        for i, text in enumerate(texts(self.tokenizer, rollout)):
            puzzle = puzzles[i // self.settings.responses]
            found.append(score(judge(text, dict(zip(puzzle.names, puzzle.solution, strict=True))), RULES["tiny"]))
        return torch.tensor(found)

    def _parts(self, batch: Batch) -> list[Tensor]:
        """Rows of each micro-batch, of like lengths. Rows whose advantage is 0 would only add zeros: left out."""
        kept = batch.advantages.any(1).nonzero()[:, 0]
        by_length = kept[batch.rollout.lengths[kept].argsort(stable=True)]
        return [part for part in by_length.chunk(self.settings.micro_batches) if len(part)]

    def _update(self, batch: Batch) -> Row:
        """One optimizer step; gradient norm before clipping, shares of mass and of clipped tokens."""
        mass = Mass()
        clipped = self.backward(batch, self.actor, mass)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip).item()
        self.optimizer.step()
        return {"grad_norm": norm, "clipped": clipped} | mass.shares()

    def backward(self, batch: Batch, actor: FSDPActorConfig, mass: Mass | None = None) -> float:
        """The mini-batch's gradient, in the parameters; returns the share of its tokens that the clip takes out."""
        self.optimizer.zero_grad(set_to_none=True)
        _set_mean_weight(actor, batch)
        clipped = 0.0
        tokens = int(batch.rollout.response_mask.sum())
        for part in self._parts(batch):
            rows = batch.rollout.rows(part)
            log_prob = log_probs(self.model, rows)
            if mass is not None:
                pi, kinds = log_prob.detach().exp(), self.kinds(rows.responses)
                keep = rows.response_mask

                def record(g: Tensor, pi: Tensor = pi, kinds: Tensor = kinds, keep: Tensor = keep) -> None:
                    mass.add(pi[keep], g[keep], kinds[keep])

                log_prob.register_hook(record)
            loss, metrics = self._loss(batch, part, rows, log_prob, actor)
            loss.backward()
            clipped += metrics["actor/pg_clipfrac"] * int(rows.response_mask.sum()) / tokens
        return clipped

    def _loss(
        self, batch: Batch, part: Tensor, rows: Rollout, log_prob: Tensor, actor: FSDPActorConfig
    ) -> tuple[Tensor, dict[str, Any]]:
        width = log_prob.shape[1]
        actor.global_batch_info.update(
            dp_size=1,
            batch_num_tokens=int(batch.rollout.response_mask.sum()),
            global_batch_size=len(batch.advantages),
            loss_scale_factor=None,
        )
        return get_policy_loss_fn(actor.policy_loss.loss_mode)(
            # Sampling and this forward pass are one model in one precision: a test bounds the difference.
            old_log_prob=rows.log_probs,
            log_prob=log_prob,
            advantages=batch.advantages[part, :width],
            response_mask=rows.response_mask,
            loss_agg_mode="token-mean",
            config=actor,
        )

    def _probe(self, batch: Batch) -> Row:
        """SAM's ascent step on GRPO's own loss, whatever the method: how much the loss rises over the batch."""
        self.backward(batch, self.plain)

        @torch.no_grad()
        def loss() -> float:
            total = 0.0
            for part in self._parts(batch):
                rows = batch.rollout.rows(part)
                total += self._loss(batch, part, rows, log_probs(self.model, rows), self.plain)[0].item()
            return total

        found = ascent([p for p in self.model.parameters() if p.grad is not None], loss, self.settings.probe_rho)
        if found is None:
            return {}
        curvature = found.rise - self.settings.probe_rho * found.slope
        return {"sharpness": found.rise, "sharpness_slope": found.slope, "sharpness_curvature": curvature}


def simulate(run: Run, world: World, settings: Settings | None = None) -> dict[str, Any]:
    """Train and evaluate one cell of the grid; returns its steps and its end as plain numbers."""
    settings = settings or Settings()
    started = time.monotonic()
    model, tokenizer = world.policy()
    simulator = Simulator(model, tokenizer, run.actor(settings), run.lr, run.seed, settings)
    order = world.prompts(run.seed, settings.steps * settings.prompts)
    steps: list[dict[str, Any]] = []
    for number in range(1, settings.steps + 1):
        puzzles = order[(number - 1) * settings.prompts : number * settings.prompts]
        row: dict[str, Any] = {"step": number} | simulator.step(number, puzzles)
        if number % settings.evaluate_every == 0 and number < settings.steps:
            row |= evaluate(model, tokenizer, world.held_out, settings, samples=1, prefix="sampled")
        steps.append(row)
    end = {
        **evaluate(model, tokenizer, world.held_out, settings, samples=4, prefix="sampled"),
        **evaluate(model, tokenizer, world.held_out, settings, samples=0, prefix="greedy"),
        **evaluate(model, tokenizer, world.more, settings, samples=0, prefix="greedy"),
    }
    return {"steps": steps, "end": end, "seconds": round(time.monotonic() - started, 1)}


def _set_mean_weight(actor: FSDPActorConfig, batch: Batch) -> None:
    """``normalize``: the mean of w(pi_old) over the mini-batch, as the recipe's engine sets it."""
    knobs = actor.policy_loss
    if not isinstance(knobs, TRGRPOLossConfig) or not knobs.normalize:
        return
    knobs.batch_mean = None
    sampled = batch.rollout.log_probs  # rows without advantage count too
    knobs.batch_mean = token_weights(knobs, sampled, sampled)[batch.rollout.response_mask].mean().item()


def _rows(rollout: Rollout, rows: slice) -> Rollout:
    """Rows with all columns, so that (R, T) tensors of the step still fit."""
    return Rollout(
        rollout.prompts[rows],
        rollout.prompt_mask[rows],
        rollout.responses[rows],
        rollout.response_mask[rows],
        rollout.log_probs[rows],
    )


def _at_end(rewards: Tensor, mask: Tensor) -> Tensor:
    """Rewards (R,) at each response's last token, (R, T), as verl places them."""
    placed = torch.zeros(mask.shape)
    placed[torch.arange(len(rewards)), mask.sum(1) - 1] = rewards
    return placed


def _sampled(rollout: Rollout, rewards: Tensor) -> Row:
    """What the sampling policy did, over all its tokens."""
    pi = rollout.log_probs[rollout.response_mask].exp()
    counts = torch.bincount(bands(pi), minlength=len(BANDS)) / len(pi)
    return {
        "reward": rewards.mean().item(),
        "right": (rewards > 1).float().mean().item(),
        "tokens": rollout.lengths.float().mean().item(),
        "log_prob": pi.log().mean().item(),
        **{f"share_{name}": share for name, share in zip(BANDS, counts.tolist(), strict=True)},
    }
