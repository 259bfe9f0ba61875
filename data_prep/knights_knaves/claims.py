"""Drawing one claim: every claim of depth 1 is listed once with its truth table, deeper ones are composed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random

from tr_grpo.data_prep.knights_knaves.logic import Statement, all_true, connect, person_tables

SYMBOL = {"not": "not", "and": "and", "or": "or", "if": "->", "iff": "<=>"}
Claim = tuple[int, Statement]  # truth table, statement


@lru_cache(maxsize=64)
def claims_of_depth_one(people: int, kinds: tuple[str, ...]) -> tuple[list[Claim], ...]:
    """Every claim of depth <= 1, one list a kind in the order of ``kinds``; a pair names two different people."""
    full = all_true(people)
    knights = person_tables(people)
    atoms: list[Claim] = [(table, ("telling-truth", i)) for i, table in enumerate(knights)]
    atoms += [(full ^ table, ("lying", i)) for i, table in enumerate(knights)]
    pairs = [(a, b) for a in atoms for b in atoms if a[1][1] != b[1][1]]
    menu: list[list[Claim]] = []
    for kind in kinds:
        if kind == "is":
            menu.append(atoms)
        elif kind == "not":
            menu.append([(full ^ table, ("not", atom)) for table, atom in atoms])
        else:
            symbol = SYMBOL[kind]
            menu.append([(connect(symbol, (a, b), full), (symbol, s, t)) for (a, s), (b, t) in pairs])
    return tuple(menu)


def part_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Kinds that a claim's parts are drawn from: with "is", some pair of parts is never degenerate."""
    return kinds if "is" in kinds else ("is", *kinds)


def claim_sampler(people: int, depth: int, kinds: tuple[str, ...], rng: Random) -> Callable[[], Claim]:
    """A function that draws a claim of nesting at most ``depth`` (>= 1), its kind uniform over ``kinds``.

    No claim is a tautology, a contradiction, a double negation, or equal to one of its own parts, so every
    part of what a person says matters. A part may always be "X is a knight", whatever ``kinds`` are.
    """
    menu = claims_of_depth_one(people, kinds)
    random = rng.random
    choices = len(menu)

    def simple() -> Claim:
        claims = menu[int(random() * choices)]
        return claims[int(random() * len(claims))]

    if depth == 1:
        return simple
    full = all_true(people)
    part = claim_sampler(people, depth - 1, part_kinds(kinds), rng)

    def nested() -> Claim:
        choice = int(random() * choices)
        kind = kinds[choice]
        if kind == "is":
            return menu[choice][int(random() * len(menu[choice]))]
        symbol = SYMBOL[kind]
        while True:
            a, s = part()
            if kind == "not":
                if s[0] != "not":
                    return full ^ a, ("not", s)
                continue
            b, t = part()
            table = connect(symbol, (a, b), full)
            if table not in (0, full, a, b, full ^ a, full ^ b):
                return table, (symbol, s, t)

    return nested
