"""Hypothesis strategies of statements and puzzles, independent of the generator under test."""

from __future__ import annotations

from itertools import product

from hypothesis import strategies as st

from tr_grpo.data_prep.knights_knaves import NAMES, Puzzle, Statement, claim_holds


def statements(people: int) -> st.SearchStrategy[Statement]:
    """Any statement about ``people`` people, degenerate ones included."""
    atoms = st.tuples(st.sampled_from(["telling-truth", "lying"]), st.integers(0, people - 1))
    return st.recursive(
        atoms,
        lambda part: st.one_of(
            st.tuples(st.just("not"), part),
            st.tuples(st.sampled_from(["and", "or", "->", "<=>"]), part, part),
            st.tuples(st.sampled_from(["and", "or"]), part, part, part),
        ),
        max_leaves=5,
    )


def brute_force(claims: tuple[Statement, ...]) -> list[tuple[bool, ...]]:
    """All solutions, one assignment at a time and without truth tables."""
    return [
        a
        for a in product([False, True], repeat=len(claims))
        if all(claim_holds(claim, a) == knight for claim, knight in zip(claims, a, strict=True))
    ]


@st.composite
def puzzles(draw: st.DrawFn, most: int = 5) -> Puzzle:
    """A puzzle of 2 to ``most`` people with exactly one solution."""
    people = draw(st.integers(2, most))
    claims = draw(st.tuples(*[statements(people)] * people).filter(lambda c: len(brute_force(c)) == 1))
    return Puzzle(NAMES[:people], claims, brute_force(claims)[0])


def rename(statement: Statement, order: list[int] | tuple[int, ...]) -> Statement:
    """``statement`` with person i called ``order[i]``."""
    kind, *parts = statement
    if kind in ("telling-truth", "lying"):
        return (kind, order[parts[0]])
    return (kind, *(rename(part, order) for part in parts))


def permuted(puzzle: Puzzle, order: list[int] | tuple[int, ...]) -> Puzzle:
    """The same puzzle with person i moved to place ``order[i]``."""
    back = sorted(range(puzzle.people), key=order.__getitem__)
    claims = tuple(rename(puzzle.claims[i], order) for i in back)
    return Puzzle(tuple(puzzle.names[i] for i in back), claims, tuple(puzzle.solution[i] for i in back))
