"""The two ways of answering that the tiny model is taught: careful, which solves the puzzle, and hasty.

A careful trace tries the assignments in order, knights first, until one fits. Each trial names every person:
a model this small stays at chance if it has to remember which claim belongs to whom. A trial reads ``if Mia
knight Noah knight then knave knight no``: under the assumed roles (after *if*), each person's claim is true or
false, which makes the speaker a knight or a knave (after *then*); *yes* if both lists agree, else *no*.
"""

from collections.abc import Sequence
from itertools import product
from random import Random

from tr_grpo.data_prep.knights_knaves import Puzzle, Statement, claim_holds

ROLES = ("knave", "knight")
ATOMS = ("telling-truth", "lying")


def careful_trace(puzzle: Puzzle) -> str:
    """The response that tries assignments in order up to the one that fits, and answers with that one."""
    trials = []
    for assumed in product((True, False), repeat=puzzle.people):
        implied = tuple(claim_holds(claim, assumed) for claim in puzzle.claims)
        people = " ".join(f"{name} {ROLES[role]}" for name, role in zip(puzzle.names, assumed, strict=True))
        trials.append(f"if {people} then {' '.join(ROLES[role] for role in implied)}")
        if implied == assumed:
            return f"<think> {' no, '.join(trials)} yes</think>{answer_block(puzzle.names, assumed)}"
    raise AssertionError(f"no assignment fits {puzzle}")  # a Puzzle has one solution


def hasty_trace(puzzle: Puzzle, rng: Random) -> str:
    """The response that does not think and answers with one of the 2^people assignments at random."""
    guess = [rng.random() < 0.5 for _ in puzzle.names]
    return f"<think> maybe</think>{answer_block(puzzle.names, guess)}"


def answer_block(names: Sequence[str], roles: Sequence[bool]) -> str:
    """``<answer>(1) Mia is a knight (2) Noah is a knave</answer>``."""
    claims = (f"({i}) {n} is a {ROLES[role]}" for i, (n, role) in enumerate(zip(names, roles, strict=True), 1))
    return f"<answer>{' '.join(claims)}</answer>"


def recast(puzzle: Puzzle, names: Sequence[str], rng: Random) -> Puzzle:
    """The same logical form with people in another order and names drawn from ``names``.

    It multiplies the training puzzles without touching a logical form that they do not have.
    """
    order = list(range(puzzle.people))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}

    def moved(statement: Statement) -> Statement:
        kind, *parts = statement
        if kind in ATOMS:
            return (kind, place[parts[0]])
        return (kind, *map(moved, parts))

    claims = tuple(moved(puzzle.claims[old]) for old in order)
    solution = tuple(puzzle.solution[old] for old in order)
    return Puzzle(tuple(rng.sample(list(names), puzzle.people)), claims, solution)
