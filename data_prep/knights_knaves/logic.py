"""Statements, truth tables as integers, and the proof that a puzzle has exactly one solution.

A statement is a nested tuple in the notation of the public K&K data, so that what a file holds is what is
computed with: ``("telling-truth", i)``, ``("lying", i)``, ``("not", s)``, ``("and", s, t, ...)``,
``("or", s, t, ...)``, ``("->", s, t)``, ``("<=>", s, t)``; people are numbered from 0.

Among n people there are 2^n assignments; assignment a makes person i a knight iff bit i of a is set. A truth
table is an integer of 2^n bits whose bit a is the statement's value under assignment a. Person i's claim with
table T_i holds exactly when i is a knight, so the puzzle's solutions are the set bits of AND_i XNOR(V_i, T_i),
and the solution is unique iff that integer has one set bit.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tr_grpo.data_prep.errors import InputError

Statement = tuple[Any, ...]

MIN_PEOPLE, MAX_PEOPLE = 2, 8
ATOMS = ("telling-truth", "lying")
ARITY = {"not": (1, 1), "and": (2, 99), "or": (2, 99), "->": (2, 2), "<=>": (2, 2)}


@dataclass(frozen=True, slots=True)
class Puzzle:
    """People by name, what each of them claims (same order), and who is a knight (True)."""

    names: tuple[str, ...]
    claims: tuple[Statement, ...]
    solution: tuple[bool, ...]

    @property
    def people(self) -> int:
        """Number of people."""
        return len(self.names)

    def prove(self) -> None:
        """Recompute all solutions from the claims; raise ``InputError`` unless ``solution`` is the only one."""
        found = solutions(self.claims)
        if len(found) != 1:
            raise InputError(f"puzzle of {', '.join(self.names)} has {len(found)} solutions instead of one")
        if found[0] != self.solution:
            raise InputError(f"puzzle of {', '.join(self.names)}: the given solution {self.solution} is not {found[0]}")


def all_true(people: int) -> int:
    """Truth table of a tautology: 2^people bits, all set."""
    return (1 << (1 << people)) - 1


@cache
def person_tables(people: int) -> tuple[int, ...]:
    """Truth table of "person i is a knight" for each i; ``people`` integers of 2^people bits."""
    return tuple(sum(1 << a for a in range(1 << people) if a >> i & 1) for i in range(people))


def truth_table(statement: Statement, people: int) -> int:
    """Truth table of ``statement`` among ``people`` people: an integer of 2^people bits."""
    kind = statement[0]
    full = all_true(people)
    if kind in ATOMS:
        table = person_tables(people)[statement[1]]
        return table if kind == "telling-truth" else full ^ table
    parts = [truth_table(part, people) for part in statement[1:]]
    return connect(kind, parts, full)


def connect(kind: str, parts: Sequence[int], full: int) -> int:
    """Truth table of connective ``kind`` over the tables ``parts``; ``full`` is the tautology's table."""
    if kind == "not":
        return full ^ parts[0]
    if kind == "->":
        return (full ^ parts[0]) | parts[1]
    if kind == "<=>":
        return full ^ parts[0] ^ parts[1]
    table = parts[0]
    for part in parts[1:]:
        table = table & part if kind == "and" else table | part
    return table


def solution_table(claims: Sequence[Statement]) -> int:
    """Integer of 2^n bits whose set bits are the assignments under which every claim fits its speaker."""
    people = len(claims)
    full = all_true(people)
    fitting = full
    for person, claim in zip(person_tables(people), claims, strict=True):
        fitting &= full ^ person ^ truth_table(claim, people)
    return fitting


def solutions(claims: Sequence[Statement]) -> list[tuple[bool, ...]]:
    """Every assignment (True: knight) under which each claim is true iff its speaker is a knight."""
    people = len(claims)
    table = solution_table(claims)
    return [unpack(a, people) for a in range(1 << people) if table >> a & 1]


def unpack(assignment: int, people: int) -> tuple[bool, ...]:
    """Bits of an assignment's number as one bool a person."""
    return tuple(bool(assignment >> i & 1) for i in range(people))


def claim_holds(statement: Statement, assignment: Sequence[bool]) -> bool:
    """Value of ``statement`` when person i is a knight iff ``assignment[i]``; plain recursion, no tables."""
    kind = statement[0]
    if kind in ATOMS:
        return bool(assignment[statement[1]]) == (kind == "telling-truth")
    values = [claim_holds(part, assignment) for part in statement[1:]]
    if kind == "not":
        return not values[0]
    if kind == "and":
        return all(values)
    if kind == "or":
        return any(values)
    if kind == "->":
        return not values[0] or values[1]
    return values[0] == values[1]


def parse_claims(text: str) -> tuple[Statement, ...]:
    """Claims from their Python literal, one a person; ``InputError`` says what is malformed."""
    try:
        claims = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError) as error:
        raise InputError(f"statements are not a Python literal: {text[:60]!r}") from error
    if not isinstance(claims, tuple) or not MIN_PEOPLE <= len(claims) <= MAX_PEOPLE:
        raise InputError(f"statements must be a tuple of {MIN_PEOPLE} to {MAX_PEOPLE} claims: {text[:60]!r}")
    for claim in claims:
        _check(claim, len(claims))
    return claims


def _check(statement: object, people: int) -> None:
    if not isinstance(statement, tuple) or not statement or not isinstance(statement[0], str):
        raise InputError(f"not a statement: {str(statement)[:60]}")
    kind, *parts = statement
    if kind in ATOMS:
        if len(parts) != 1 or type(parts[0]) is not int or not 0 <= parts[0] < people:
            raise InputError(f"{kind!r} needs one person numbered 0 to {people - 1}: {statement}")
        return
    if kind not in ARITY:
        raise InputError(f"unknown connective {kind!r}; known: {', '.join((*ATOMS, *ARITY))}")
    least, most = ARITY[kind]
    if not least <= len(parts) <= most:
        raise InputError(f"{kind!r} does not take {len(parts)} parts: {str(statement)[:60]}")
    for part in parts:
        _check(part, people)
