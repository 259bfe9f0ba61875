"""The model searching: its turns, and between them what the search engine finds, as the agent loop joins them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from tr_grpo.search.observation import encode_observation, passages_text
from tr_grpo.search.passage import Passage

Find = Callable[[Sequence[str]], list[list[Passage]]]
"""The passages for each query, best first."""
TURN_TOKENS = 24
"""The longest turn that is taught has 11."""
MOST_SEARCHES = 3
BATCH = 200  # dialogues a call of generate; bounds memory
_QUERY = re.compile(r"<search>(.*?)</search>\Z", re.DOTALL)


@dataclass
class Dialogue:
    """A prompt and what followed; ``turns`` are the model's own words."""

    ids: list[int]
    turns: list[str] = field(default_factory=list)
    searches: int = 0

    @property
    def said(self) -> str:
        """All that the model said."""
        return "".join(self.turns)


def converse(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    find: Find,
    observation_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Dialogue]:
    """A dialogue for each prompt, of at most ``MOST_SEARCHES`` searches; temperature 0 is greedy."""
    torch.manual_seed(seed)
    dialogues = [Dialogue(tokenizer.encode(prompt, add_special_tokens=False)) for prompt in prompts]
    active = dialogues
    for _ in range(MOST_SEARCHES + 1):
        for start in range(0, len(active), BATCH):
            _turn(model, tokenizer, active[start : start + BATCH], temperature)
        asked = [(dialogue, match[1].strip()) for dialogue in active if (match := _QUERY.search(dialogue.turns[-1]))]
        if not asked:
            break
        for (dialogue, _), passages in zip(asked, find([query for _, query in asked]), strict=True):
            dialogue.ids += encode_observation(tokenizer, passages_text(passages), observation_tokens)
            dialogue.searches += 1
        active = [dialogue for dialogue, _ in asked]
    return dialogues


def _turn(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Dialogue], temperature: float
) -> None:
    """Let the model go on in each dialogue up to the end of a search or an answer."""
    padded = tokenizer.pad({"input_ids": [d.ids for d in dialogues]}, padding_side="left", return_tensors="pt")
    stops = [*tokenizer.convert_tokens_to_ids(["</search>", "</answer>"]), tokenizer.eos_token_id]
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    with torch.inference_mode():
        output = model.generate(
            **padded.to(model.device),
            max_new_tokens=TURN_TOKENS,
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
            **sampling,
        )
    for dialogue, row in zip(dialogues, output[:, padded.input_ids.shape[1] :].tolist(), strict=True):
        ids = [token for token in row if token != tokenizer.pad_token_id]
        dialogue.ids += ids
        dialogue.turns.append(tokenizer.decode(ids, skip_special_tokens=True))
