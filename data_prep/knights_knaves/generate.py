"""An endless, seeded stream of puzzles, each with exactly one solution.

A solution is drawn first, then for each person a claim that fits it; the puzzle is kept iff no other assignment
fits all claims. Drawing the solution first keeps knights and knaves balanced whatever the kinds of claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves.claims import claim_sampler
from tr_grpo.data_prep.knights_knaves.config import GenerationConfig
from tr_grpo.data_prep.knights_knaves.logic import Puzzle, Statement, all_true, person_tables, unpack

MAX_TRIES = 100_000  # measured: about 1 in 3 is kept; this many misses in a row means that none exists


def generate(config: GenerationConfig, seed: int | str) -> Iterator[Puzzle]:
    """Puzzles of ``config``; the same config and seed give the same stream.

    Raises ``InputError`` when ``MAX_TRIES`` draws in a row have several solutions.
    """
    rng = Random(f"knights_knaves/{seed}")
    people = config.people
    full = all_true(people)
    # XNOR(V_i, T) = mirror_i ^ T: where the claim T fits its speaker i.
    mirrors = tuple(full ^ table for table in person_tables(people))
    draw = claim_sampler(people, config.depth, config.kinds, rng)
    names = list(config.names)
    misses = 0
    while True:
        solution = int(rng.random() * (1 << people))
        fitting = full
        claims: list[Statement] = []
        for mirror in mirrors:
            while True:
                table, statement = draw()
                constraint = mirror ^ table
                # "I am a knight" (constraint == full) says nothing.
                if constraint >> solution & 1 and constraint != full:
                    break
            claims.append(statement)
            fitting &= constraint
        if fitting & (fitting - 1):
            misses += 1
            if misses >= MAX_TRIES:
                raise InputError(f"no puzzle with one solution in {misses} draws of {config}; allow more kinds")
            continue
        misses = 0
        yield Puzzle(tuple(rng.sample(names, people)), tuple(claims), unpack(solution, people))
