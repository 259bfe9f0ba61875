"""The puzzles that the tiny model learns from, and their text as it sees it."""

from random import Random

from transformers import PreTrainedTokenizerFast

from tr_grpo.data_prep.knights_knaves import GenerationConfig, Puzzle, render_prompt

CONFIG = GenerationConfig(phrasing="plain", style="short")
"""Only its wording counts: short prompts that end with the names."""


def messages(puzzle: Puzzle) -> list[dict[str, str]]:
    """The puzzle's prompt as chat messages, worded as in the quick start's data."""
    return render_prompt(puzzle, CONFIG, Random(0))  # the plain phrasing draws nothing that matters


def chat_text(tokenizer: PreTrainedTokenizerFast, puzzle: Puzzle) -> str:
    """The puzzle's prompt in the chat template, up to where the response begins."""
    text = tokenizer.apply_chat_template(messages(puzzle), tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text
