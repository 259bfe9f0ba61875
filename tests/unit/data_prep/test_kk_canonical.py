"""Two puzzles have one logical form iff renaming and reordering makes their truth tables equal."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kk_strategies import permuted, puzzles

from tr_grpo.data_prep.knights_knaves import Puzzle, Statement, claim_holds, logical_form, wording_form
from tr_grpo.data_prep.knights_knaves.logic import unpack

EIGHT = tuple("ABCDEFGH")


def tables(puzzle: Puzzle) -> tuple[tuple[bool, ...], ...]:
    """Truth tables by plain recursion, as tuples of bools."""
    n = puzzle.people
    return tuple(tuple(claim_holds(c, unpack(a, n)) for a in range(1 << n)) for c in puzzle.claims)


def least_tables(puzzle: Puzzle) -> tuple:
    """Brute-force canonical form: the least tables over all n! renamings."""
    return min(tables(permuted(puzzle, order)) for order in permutations(range(puzzle.people)))


def rewritten(statement: Statement) -> Statement:
    """Another statement with the same truth table."""
    kind, *parts = statement
    parts = [rewritten(p) if isinstance(p, tuple) else p for p in parts]
    if kind == "lying":
        return ("not", ("telling-truth", parts[0]))
    if kind == "->":
        return ("or", ("not", parts[0]), parts[1])
    if kind == "and":
        return ("not", ("or", *(("not", p) for p in reversed(parts))))
    if kind == "<=>":
        return ("and", ("->", parts[1], parts[0]), ("->", parts[0], parts[1]))
    return (kind, *parts)


@settings(max_examples=25, deadline=None)
@given(puzzles(), st.randoms())
def test_both_forms_ignore_names_and_order(puzzle: Puzzle, random: object) -> None:
    order = list(range(puzzle.people))
    random.shuffle(order)  # type: ignore[attr-defined]
    other = permuted(puzzle, order)
    assert logical_form(other) == logical_form(puzzle)
    assert wording_form(other) == wording_form(puzzle)


@settings(max_examples=25, deadline=None)
@given(puzzles())
def test_logical_form_ignores_rewriting_with_equal_tables(puzzle: Puzzle) -> None:
    other = Puzzle(puzzle.names, tuple(map(rewritten, puzzle.claims)), puzzle.solution)
    assert logical_form(other) == logical_form(puzzle)


@settings(max_examples=15, deadline=None)
@given(st.lists(puzzles(most=3), min_size=2, max_size=8))
def test_logical_forms_agree_iff_brute_force_does(group: list[Puzzle]) -> None:
    """Few people, so that equal forms are frequent; the two labels must be a bijection."""
    pairs = {(logical_form(p), (p.people, least_tables(p))) for p in group}
    assert len({form for form, _ in pairs}) == len(pairs) == len({least for _, least in pairs})


@settings(max_examples=12, deadline=None)
@given(puzzles(), puzzles())
def test_logical_forms_of_more_people_agree_iff_brute_force_does(a: Puzzle, b: Puzzle) -> None:
    same = a.people == b.people and least_tables(a) == least_tables(b)
    assert (logical_form(a) == logical_form(b)) == same


def test_wording_form_tells_rewritten_claims_apart() -> None:
    claims = (("->", ("telling-truth", 0), ("telling-truth", 1)), ("or", ("telling-truth", 0), ("lying", 1)))
    a = Puzzle(("Mia", "Noah"), claims, (True, True))
    b = Puzzle(a.names, (("or", ("lying", 0), ("telling-truth", 1)), claims[1]), a.solution)
    swapped = Puzzle(a.names, (claims[0], ("or", *reversed(claims[1][1:]))), a.solution)
    assert logical_form(a) == logical_form(b)
    assert wording_form(a) != wording_form(b)
    assert wording_form(a) == wording_form(swapped)


# Puzzles whose people colour refinement alone cannot tell apart; forms need no solution to be well defined.
CYCLE = tuple(("telling-truth", (i + 1) % 8) for i in range(8))
TWO_CYCLES = tuple(("telling-truth", (i + 1) % 4 + i // 4 * 4) for i in range(8))
STAR = tuple(("lying", 0 if i else 1) for i in range(8))


@pytest.mark.parametrize("claims", [CYCLE, TWO_CYCLES, STAR], ids=["cycle", "two cycles", "star"])
def test_symmetric_puzzles_of_eight_keep_their_form(claims: tuple) -> None:
    puzzle = Puzzle(EIGHT, claims, (True,) * 8)
    for order in ([3, 1, 4, 0, 5, 7, 2, 6], [7, 6, 5, 4, 3, 2, 1, 0]):
        assert logical_form(permuted(puzzle, order)) == logical_form(puzzle)
        assert wording_form(permuted(puzzle, order)) == wording_form(puzzle)


def test_one_cycle_of_eight_is_not_two_of_four() -> None:
    """Every person of both has the same colour at every round: only the search tells them apart."""
    one, two = Puzzle(EIGHT, CYCLE, (True,) * 8), Puzzle(EIGHT, TWO_CYCLES, (True,) * 8)
    assert logical_form(one) != logical_form(two)
    assert wording_form(one) != wording_form(two)
