"""Statements, truth tables and the proof of the one solution."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kk_strategies import brute_force, statements

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves import Puzzle, claim_holds, parse_claims, solutions
from tr_grpo.data_prep.knights_knaves.logic import truth_table, unpack

KNIGHT_0, KNIGHT_1, KNAVE_0, KNAVE_1 = ("telling-truth", 0), ("telling-truth", 1), ("lying", 0), ("lying", 1)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        # "We are both knaves": a lie, so the other is a knight.
        ((("and", KNAVE_0, KNAVE_1), KNAVE_0), [(False, True)]),
        # "I am a knave" fits nobody.
        ((KNAVE_0, KNIGHT_0), []),
        # Each calls the other a knight: both are, or neither.
        ((KNIGHT_1, KNIGHT_0), [(False, False), (True, True)]),
        # "If I am a knight then so is she": the classic that forces both.
        ((("->", KNIGHT_0, KNIGHT_1), ("or", KNIGHT_0, KNAVE_0)), [(True, True)]),
        # "He is a knight iff I am": true exactly if he is a knight; he says "she is not a knave".
        ((("<=>", KNIGHT_0, KNIGHT_1), ("not", KNAVE_0)), [(True, True)]),
    ],
)
def test_golden_puzzles_have_these_solutions(claims: tuple, expected: list) -> None:
    assert solutions(claims) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5).flatmap(lambda n: st.tuples(*[statements(n)] * n)))
def test_solutions_by_tables_are_those_by_brute_force(claims: tuple) -> None:
    assert sorted(solutions(claims)) == sorted(brute_force(claims))


@given(statements(4), st.integers(0, 15))
def test_a_table_s_bit_is_the_claim_s_value(statement: tuple, assignment: int) -> None:
    assert bool(truth_table(statement, 4) >> assignment & 1) == claim_holds(statement, unpack(assignment, 4))


@pytest.mark.parametrize(
    ("claims", "solution", "message"),
    [
        ((KNIGHT_1, KNIGHT_0), (True, True), "has 2 solutions"),
        ((KNAVE_0, KNIGHT_0), (True, True), "has 0 solutions"),
        ((("and", KNAVE_0, KNAVE_1), KNAVE_0), (True, False), "given solution"),
    ],
)
def test_prove_refuses_none_several_and_another_solution(claims: tuple, solution: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Puzzle(("Mia", "Noah"), claims, solution).prove()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4).flatmap(lambda n: st.tuples(*[statements(n)] * n)))
def test_claims_survive_being_written_as_text(claims: tuple) -> None:
    assert parse_claims(repr(claims)) == claims


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').getcwd()", "not a Python literal"),
        ("(", "not a Python literal"),
        ("('lying', 0)", "not a statement"),
        ("(('lying', 0),)", "2 to 8 claims"),
        ("(('lying', 0), ('lying', 2))", "numbered 0 to 1"),
        ("(('lying', True), ('lying', 1))", "numbered 0 to 1"),
        ("(('xor', ('lying', 0), ('lying', 1)), ('lying', 1))", "unknown connective 'xor'"),
        ("(('->', ('lying', 0)), ('lying', 1))", "does not take 1 parts"),
        ("(('not', 'lying'), ('lying', 1))", "not a statement"),
    ],
)
def test_malformed_claims_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_claims(text)
