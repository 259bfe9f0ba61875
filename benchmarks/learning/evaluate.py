"""Accuracy on held-out puzzles, judged by the scorer that training uses."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from benchmarks.learning.policy import Rollout, generate
from benchmarks.learning.settings import Settings
from tr_grpo.data_prep.knights_knaves import Puzzle
from tr_grpo.data_prep.tiny_model.examples import chat_text
from tr_grpo.reward.knights_knaves import judge
from tr_grpo.reward.verdict import Verdict

NOISE = 20_000  # the seed of every evaluation's sampling: all methods and steps meet the same noise
TOKENS_BY_PEOPLE = {4: 320}  # 16 trials of up to 17 tokens and the answer; fewer people fit the training's limit


def texts(tokenizer: PreTrainedTokenizerFast, rollout: Rollout) -> list[str]:
    """Each response as verl decodes it."""
    kept = [row[mask] for row, mask in zip(rollout.responses, rollout.response_mask, strict=True)]
    return tokenizer.batch_decode(kept, skip_special_tokens=True)


def evaluate(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    puzzles: Sequence[Puzzle],
    settings: Settings,
    samples: int,
    prefix: str,
) -> dict[str, float]:
    """Shares of right and of careful responses by number of people, ``<prefix>_right_<people>`` and so on.

    Args:
        samples: responses a puzzle at temperature 1; 0 is one greedy response.
    """
    found: dict[str, list[bool]] = defaultdict(list)
    for people in sorted({puzzle.people for puzzle in puzzles}):
        same = [puzzle for puzzle in puzzles if puzzle.people == people]
        rollout = generate(
            model,
            tokenizer,
            [chat_text(tokenizer, puzzle) for puzzle in same],
            max(1, samples),
            TOKENS_BY_PEOPLE.get(people, settings.response_tokens),
            torch.Generator().manual_seed(NOISE + people) if samples else None,
        )
        for i, text in enumerate(texts(tokenizer, rollout)):
            puzzle = same[i // max(1, samples)]
            verdict = judge(text, dict(zip(puzzle.names, puzzle.solution, strict=True))).verdict
            found[f"{prefix}_right_{people}"].append(verdict is Verdict.RIGHT)
            # A guess is one word; a trial is eight or more.
            found[f"{prefix}_careful_{people}"].append(len(text.split("</think>")[0].split()) > 3)
    return {key: sum(values) / len(values) for key, values in found.items()}
