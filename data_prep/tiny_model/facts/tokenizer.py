"""The tokenizer of facts: byte-level BPE with one token a word, and the tags of a searching response."""

from collections.abc import Iterable
from re import compile, escape

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from tr_grpo.data_prep.tiny_model.tokenizer import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, TURN

TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "information", "answer") for slash in ("", "/"))
MOST_TOKENS = 2000
"""Never reached: merging ends when each word is one token."""


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Tokenizer that gives each word of ``texts`` one token, with the ChatML template; deterministic.

    The tags are added tokens, but not special ones: special tokens vanish when a response is decoded with
    ``skip_special_tokens=True``, as verl does, and neither the agent loop nor the scorer would find a tag.
    """
    backend = Tokenizer(models.BPE())
    # Qwen2's own steps: AutoTokenizer applies them to any folder whose config says qwen2, whatever was saved.
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in (END_OF_TEXT, TURN, END_OF_TURN)]
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_TOKENS,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Without the tags, which would otherwise use up merges such as "><".
    added = compile("|".join(map(escape, (*TAGS, END_OF_TEXT, TURN, END_OF_TURN))))
    backend.train_from_iterator((part for text in texts for part in added.split(text)), trainer)
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
