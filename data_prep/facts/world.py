"""The world that a seed draws: who was born where, lives where and does what, and where each town lies.

Everything is on one of two sides. A person's side is decided by the full name, a town's by its name, and a person of
one side has only towns of that side: a question about a test person passes through nothing that training has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts.words import COUNTRIES, CRAFTS, FIRST_NAMES, PRODUCTS, SURNAMES, TOWNS
from tr_grpo.search.passage import Passage

PEOPLE_TEST_ONE_IN = 8
"""One full name in so many is on the test side ..."""
TOWNS_TEST_ONE_IN = 4
"""... and one town in so many: fewer would leave test answers too easy to guess."""
MOST_PEOPLE = len(FIRST_NAMES) * len(SURNAMES)


SAYINGS = {
    "born": "was born in {}",
    "home": "lives in {}",
    "craft": "works as a {}",
    "country": "lies in {}",
    "product": "is known for {}",
}
"""How the corpus says a fact of a person or a town, after its name."""


@dataclass(frozen=True)
class Person:
    """What the corpus says of a person; ``born`` and ``home`` are two different towns."""

    name: str
    born: str
    home: str
    craft: str

    @property
    def passage(self) -> Passage:
        """The person's passage. Each sentence says the name, so that it can be read on its own."""
        return _passage(self.name, born=self.born, home=self.home, craft=self.craft)


@dataclass(frozen=True)
class Town:
    """What the corpus says of a town."""

    name: str
    country: str
    product: str

    @property
    def passage(self) -> Passage:
        """The town's passage."""
        return _passage(self.name, country=self.country, product=self.product)


@dataclass(frozen=True)
class World:
    """People and towns by name, in the corpus's order."""

    people: dict[str, Person]
    towns: dict[str, Town]

    @property
    def corpus(self) -> list[Passage]:
        """One passage for each person and each town."""
        people = [person.passage for person in self.people.values()]
        return people + [town.passage for town in self.towns.values()]


def side(name: str, one_in: int) -> str:
    """``test`` for one name in ``one_in``, else ``train``; the name alone decides.

    So a test person of any seed is on no other seed's train side, nor taught to the tiny model.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return "test" if int.from_bytes(digest[:8]) % one_in == 0 else "train"


def person_side(name: str) -> str:
    """The side of a full name."""
    return side(name, PEOPLE_TEST_ONE_IN)


def town_side(name: str) -> str:
    """The side of a town."""
    return side(name, TOWNS_TEST_ONE_IN)


def full_names() -> Iterator[str]:
    """All ``MOST_PEOPLE`` of them."""
    return map(" ".join, product(FIRST_NAMES, SURNAMES))


def draw_world(seed: int, people: int) -> World:
    """``people`` people and all towns, every fact drawn evenly; the same arguments give the same world.

    Raises InputError if there are too few names for ``people``, or ``people`` is below 2.
    """
    if not 2 <= people <= MOST_PEOPLE:
        raise InputError(f"--people {people}: must be from 2 to {MOST_PEOPLE}, which is how many names there are")
    rng = Random(f"facts/world/{seed}")
    towns = {name: Town(name, rng.choice(COUNTRIES), rng.choice(PRODUCTS)) for name in TOWNS}
    names = rng.sample(list(full_names()), people)
    return World({name: draw_person(name, rng, towns_of(person_side(name))) for name in names}, towns)


def draw_person(name: str, rng: Random, towns: list[str]) -> Person:
    """A person with two of ``towns`` and any craft."""
    born, home = rng.sample(towns, 2)
    return Person(name, born, home, rng.choice(CRAFTS))


def towns_of(side: str) -> list[str]:
    """The names of the towns on one side."""
    return [name for name in TOWNS if town_side(name) == side]


def _passage(name: str, **facts: str) -> Passage:
    sentences = (f"{name} {SAYINGS[fact].format(value)}." for fact, value in facts.items())
    return Passage(name.lower().replace(" ", "_"), name, " ".join(sentences))
