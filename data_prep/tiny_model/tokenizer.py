"""The tiny model's tokenizer: byte-level BPE that gives each word of the puzzles one token."""

import re
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from tr_grpo.reward.knights_knaves import TAGS

MOST_TOKENS = 408
"""256 bytes, 7 added tokens and at most 145 merges: enough for one token a word of the puzzles."""
END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(
    texts: Iterable[str], tags: Sequence[str] = TAGS, most_tokens: int = MOST_TOKENS
) -> PreTrainedTokenizerFast:
    """Tokenizer of at most ``most_tokens`` tokens learned from ``texts``, with the ChatML template; deterministic.

    The tags are added tokens, but not special ones: special tokens vanish when a response is decoded with
    ``skip_special_tokens=True``, as verl does, and neither an agent loop nor the scorer would find a tag.
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
        vocab_size=most_tokens - len(tags),
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Without the tags, which would otherwise use up merges such as "><".
    added = re.compile("|".join(map(re.escape, (*tags, END_OF_TEXT, TURN, END_OF_TURN))))
    backend.train_from_iterator((part for text in texts for part in added.split(text)), trainer)
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
