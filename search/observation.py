"""What the policy reads of a search: Search-R1's ``<information>`` block, cut by tokens, closing tag kept.

A failed search is marked as such: it must never look like a search that found nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from tr_grpo.search.passage import Passage

OPENING = "\n\n<information>"
CLOSING = "</information>\n\n"
FAILED = "Search failed: the search engine could not be reached. This is not an empty result."
EMPTY = "No passage matches this query."
INVALID = (
    "\nMy previous action is invalid. If I want to search, I should put the query between <search> and </search>. "
    "If I want to give the final answer, I should put the answer between <answer> and </answer>. Let me try again.\n"
)
"""Search-R1's words (search_r1/llm_agent/generation.py)."""


def passages_text(passages: Sequence[Passage]) -> str:
    """Search-R1's list of passages, ``Doc 1(Title: "Title") text`` a line; ``EMPTY`` for none."""
    lines = []
    for number, passage in enumerate(passages, start=1):
        title = f'(Title: "{passage.title}")' if passage.title else ""
        lines.append(f"Doc {number}{title} {passage.text}\n")
    return "".join(lines).strip() if lines else EMPTY


def encode_observation(tokenizer: PreTrainedTokenizerBase, body: str, limit: int) -> list[int]:
    """Token ids of the block around ``body``, at most ``limit`` tokens: the body's end is cut, never the closing tag.

    The three parts are tokenised each on its own, so the ids do not depend on where the cut falls.
    Raises ValueError if ``limit`` has no room for the tags.
    """
    opening, inside, closing = (tokenizer.encode(part, add_special_tokens=False) for part in (OPENING, body, CLOSING))
    room = limit - len(opening) - len(closing)
    if room < 1:
        raise ValueError(f"search.max_observation_tokens={limit} has no room beside the tags; raise it")
    return opening + inside[:room] + closing
