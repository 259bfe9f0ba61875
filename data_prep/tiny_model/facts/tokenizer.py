"""The tokenizer of facts: byte-level BPE with one token a word, and the tags of a searching response."""

from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

from tr_grpo.data_prep.tiny_model import tokenizer

TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "information", "answer") for slash in ("", "/"))
MOST_TOKENS = 2000
"""Never reached: merging ends when each word is one token."""


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Tokenizer that gives each word of ``texts`` one token, with the ChatML template; deterministic."""
    return tokenizer.train_tokenizer(texts, TAGS, MOST_TOKENS)
