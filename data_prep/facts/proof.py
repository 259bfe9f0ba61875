"""What the manifest claims, from the written files alone: every question has one answer, the sides share nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts.questions import BY_NAME, KINDS, Question
from tr_grpo.data_prep.facts.world import SAYINGS
from tr_grpo.data_prep.schema import Row, read_rows
from tr_grpo.search.passage import Passage

Known = dict[tuple[str, str], set[str]]
"""(name, fact) to all values that the corpus gives."""


def known_facts(corpus: Iterable[Passage]) -> Known:
    """Every fact of the corpus, read sentence by sentence; InputError for a sentence that says none."""
    patterns = {fact: re.compile(f"(.+) {saying.format('(.+)')}") for fact, saying in SAYINGS.items()}
    known: Known = defaultdict(set)
    for passage in corpus:
        for sentence in passage.text.removesuffix(".").split(". "):
            found = [(fact, match) for fact, pattern in patterns.items() if (match := pattern.fullmatch(sentence))]
            if len(found) != 1:
                raise InputError(f"corpus: passage {passage.id}: no single fact in {sentence!r}; prepare it again")
            ((fact, match),) = found
            known[match[1], fact].add(match[2])
    return known


def asked(text: str) -> Question:
    """The question that ``text`` asks; ValueError unless it is worded as exactly one kind."""
    found = []
    for kind in KINDS:
        for number, wording in enumerate(kind.wordings):
            before, after = wording.split("{}")
            if match := re.fullmatch(f"{re.escape(before)}([A-Z][a-z]+ [A-Z][a-z]+){re.escape(after)}", text):
                found.append(Question(match[1], kind, number))
    if len(found) != 1:
        raise ValueError(f"not a question about a person: {text!r}")
    return found[0]


def answers(question: Question, known: Known) -> set[str]:
    """All answers that the facts give."""
    reached = {question.person}
    for fact in question.kind.facts:
        reached = {value for name in reached for value in known.get((name, fact), set())}
    return reached


def names_of(question: Question, known: Known) -> set[str]:
    """The names of all that the way to the answer passes through: the person, and with two hops the town."""
    names, reached = {question.person}, {question.person}
    for fact in question.kind.facts[:-1]:
        reached = {value for name in reached for value in known.get((name, fact), set())}
        names |= reached
    return names


def read_questions(path: Path, known: Known) -> list[Question]:
    """The questions of a file of ``build_facts``; InputError for any other file and for an answer not the only one."""
    questions = []
    for number, row in enumerate(read_rows(path)):
        try:
            question, target = _read(row)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: row {number} is no question of facts; give a file of `prep facts`") from error
        found = answers(question, known)
        if found != set(target):
            raise InputError(
                f"{path}: row {number}: the corpus answers {sorted(found)}, the row {target}; prepare it again"
            )
        questions.append(question)
    return questions


def prove_apart(train: Sequence[Question], test: Sequence[Question], known: Known) -> dict[str, Any]:
    """What the manifest says of the separation; InputError if a person or a town is on both sides."""
    names = [{name for question in side for name in names_of(question, known)} for side in (train, test)]
    given = [{name for question in side for name in answers(question, known)} for side in (train, test)]
    towns = [{name for name in side if (name, "country") in known} for side in given]
    shared = (names[0] & names[1]) | (towns[0] & towns[1])
    if shared:
        raise InputError(f"{len(shared)} people or towns are in train and in test, for example {min(shared)}")
    return {
        "level": "entity",
        "train_entities": len(names[0]),
        "test_entities": len(names[1]),
        "shared": 0,
        "proved": True,
    }


def _read(row: Row) -> tuple[Question, list[str]]:
    (message,) = row["prompt"]
    question = asked(message["content"])
    if question.kind is not BY_NAME[row["extra_info"]["kind"]]:
        raise ValueError("the row names another kind")
    return question, list(row["reward_model"]["ground_truth"]["target"])
