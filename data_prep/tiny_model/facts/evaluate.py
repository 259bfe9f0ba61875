"""How often the model is right, and how often it searches, with a real search of words (BM25) in the loop."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from tr_grpo.data_prep.facts.proof import Known, answers
from tr_grpo.data_prep.facts.questions import Question
from tr_grpo.data_prep.tiny_model.facts.dialogue import Dialogue, Find, converse
from tr_grpo.data_prep.tiny_model.facts.teach import OBSERVATION_TOKENS, chat_text
from tr_grpo.search.passage import Passage

TOP_K = 2
_ANSWER = re.compile(r"<answer>(.*?)</answer>\Z", re.DOTALL)


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] over ``questions`` questions with ``samples`` responses each."""

    questions: int
    samples: int
    right: float
    """Share of responses whose answer is the one right answer, letter by letter."""
    solved: float
    """Share of questions with at least one right response: pass@``samples``."""
    format_ok: float
    """Share of responses that end with an answer."""
    searching: float
    """Share of responses that search at least once."""
    searching_right: float
    """Share of responses that do, and are right."""


def evaluate(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    known: Known,
    find: Find,
    samples: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
) -> dict[int, Accuracy]:
    """Accuracy by number of hops."""
    prompts = [chat_text(tokenizer, question) for question in questions for _ in range(samples)]
    dialogues = converse(model, tokenizer, prompts, find, OBSERVATION_TOKENS, temperature, seed)
    judged: dict[int, list[list[tuple[Dialogue, str | None, bool]]]] = {}
    for number, question in enumerate(questions):
        group = []
        for dialogue in dialogues[number * samples : (number + 1) * samples]:
            answer = given_answer(dialogue)
            group.append((dialogue, answer, answer is not None and {answer} == answers(question, known)))
        judged.setdefault(question.kind.hops, []).append(group)
    return {hops: _summary(groups, samples) for hops, groups in sorted(judged.items())}


def given_answer(dialogue: Dialogue) -> str | None:
    """The answer that the last turn ends with; None if it does not."""
    match = _ANSWER.search(dialogue.turns[-1])
    return match[1].strip() if match else None


def word_search(corpus: Sequence[Passage], top_k: int = TOP_K) -> Find:
    """BM25 over titles and texts; equal scores in the corpus's order."""
    import bm25s
    import numpy as np

    index = bm25s.BM25()
    index.index(
        bm25s.tokenize([passage.contents for passage in corpus], stopwords=None, show_progress=False), False, False
    )

    def find(queries: Sequence[str]) -> list[list[Passage]]:
        return [_best(query) for query in queries]

    def _best(query: str) -> list[Passage]:
        (words,) = bm25s.tokenize([query], stopwords=None, show_progress=False, return_ids=False)
        if not words:
            return []
        scores = index.get_scores(words)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [corpus[place] for place in order if scores[place] > 0]

    return find


def _summary(groups: Sequence[Sequence[tuple[Dialogue, str | None, bool]]], samples: int) -> Accuracy:
    found = [item for group in groups for item in group]

    def share(count: int) -> float:
        return round(count / len(found), 4)

    return Accuracy(
        questions=len(groups),
        samples=samples,
        right=share(sum(right for _, _, right in found)),
        solved=round(sum(any(right for _, _, right in group) for group in groups) / len(groups), 4),
        format_ok=share(sum(answer is not None for _, answer, _ in found)),
        searching=share(sum(dialogue.searches > 0 for dialogue, _, _ in found)),
        searching_right=share(sum(dialogue.searches > 0 and right for dialogue, _, right in found)),
    )
