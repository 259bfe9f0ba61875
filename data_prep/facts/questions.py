"""What can be asked of a world: three kinds of one hop and four of two, each in two wordings."""

from __future__ import annotations

from dataclasses import dataclass

from tr_grpo.data_prep.facts.words import COUNTRIES, CRAFTS, PRODUCTS, TOWNS
from tr_grpo.data_prep.facts.world import World


@dataclass(frozen=True)
class Kind:
    """A kind of question about a person.

    ``facts`` are the fields that lead from the person to the answer: the first of the person and, with two hops, the
    second of the town that the first names. ``answers`` are all things that could be an answer.
    """

    name: str
    facts: tuple[str, ...]
    wordings: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def hops(self) -> int:
        """How many passages the answer takes."""
        return len(self.facts)


KINDS = (
    Kind("birthplace", ("born",), ("Where was {} born?", "What is the birthplace of {}?"), TOWNS),
    Kind("home", ("home",), ("Where does {} live?", "What is the home of {}?"), TOWNS),
    Kind("craft", ("craft",), ("What does {} work as?", "What is the craft of {}?"), CRAFTS),
    Kind(
        "birth_country",
        ("born", "country"),
        ("In which country was {} born?", "In which country is the birthplace of {}?"),
        COUNTRIES,
    ),
    Kind(
        "home_country",
        ("home", "country"),
        ("In which country does {} live?", "In which country is the home of {}?"),
        COUNTRIES,
    ),
    Kind(
        "birth_product",
        ("born", "product"),
        ("What is known from where {} was born?", "What is known from the birthplace of {}?"),
        PRODUCTS,
    ),
    Kind(
        "home_product",
        ("home", "product"),
        ("What is known from where {} does live?", "What is known from the home of {}?"),
        PRODUCTS,
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Question:
    """A question about ``person``, a full name."""

    person: str
    kind: Kind
    wording: int = 0

    @property
    def text(self) -> str:
        """The question in words, the name near its end."""
        return self.kind.wordings[self.wording].format(self.person)


def path(question: Question, world: World) -> list[str]:
    """The titles of the passages that lead to the answer, in order, then the answer."""
    first, *further = question.kind.facts
    steps = [question.person, getattr(world.people[question.person], first)]
    return steps + [getattr(world.towns[steps[1]], fact) for fact in further]
