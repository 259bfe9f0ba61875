"""The stream of puzzles and how they read."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kk_strategies import brute_force

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves import (
    KINDS,
    NAMES,
    GenerationConfig,
    Puzzle,
    Statement,
    claim_text,
    generate,
    render_prompt,
    render_solution,
)
from tr_grpo.data_prep.knights_knaves.logic import all_true, person_tables, truth_table
from tr_grpo.data_prep.knights_knaves.wording import SYSTEM

MIA = Puzzle(("Mia", "Noah"), (("and", ("lying", 0), ("lying", 1)), ("->", ("lying", 0), ("lying", 0))), (False, True))
SYMBOLS = {"and": "and", "or": "or", "->": "if", "<=>": "iff", "not": "not", "telling-truth": "is", "lying": "is"}


def depth(statement: Statement) -> int:
    return 0 if SYMBOLS[statement[0]] == "is" else 1 + max(map(depth, statement[1:]))


def kinds_of(statement: Statement) -> set[str]:
    kind = SYMBOLS[statement[0]]
    return {kind} if kind == "is" else {kind}.union(*map(kinds_of, statement[1:]))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 1000))
def test_each_puzzle_has_its_solution_and_no_other(people: int, levels: int, seed: int) -> None:
    for puzzle in islice(generate(GenerationConfig(people=people, depth=levels), seed), 3):
        assert brute_force(puzzle.claims) == [puzzle.solution]
        assert len(set(puzzle.names)) == people
        assert all(depth(claim) <= levels for claim in puzzle.claims)


def test_eight_people_have_one_solution() -> None:
    for puzzle in islice(generate(GenerationConfig(people=8, depth=2), 1), 20):
        assert brute_force(puzzle.claims) == [puzzle.solution]


def test_no_claim_is_empty_of_content() -> None:
    """No tautology, no contradiction, no "I am a knight" in other words."""
    for puzzle in islice(generate(GenerationConfig(people=3, depth=2), 4), 300):
        for knight, claim in zip(person_tables(3), puzzle.claims, strict=True):
            assert truth_table(claim, 3) not in (0, all_true(3), knight)


def test_kinds_and_depth_are_those_asked_for() -> None:
    used = [
        kind
        for puzzle in islice(generate(GenerationConfig(people=4, depth=2, kinds=("and", "iff")), 0), 100)
        for claim in puzzle.claims
        for kind in kinds_of(claim)
    ]
    assert set(used) == {"is", "and", "iff"}  # "is" only as a part
    deepest = [depth(c) for p in islice(generate(GenerationConfig(depth=3), 0), 100) for c in p.claims]
    assert max(deepest) == 3


def test_all_kinds_and_both_roles_appear() -> None:
    many = list(islice(generate(GenerationConfig(people=4), 0), 500))
    assert {SYMBOLS[claim[0]] for puzzle in many for claim in puzzle.claims} == set(KINDS)
    knights = sum(sum(puzzle.solution) for puzzle in many) / (4 * 500)
    assert 0.4 < knights < 0.6


def test_seed_decides_the_stream() -> None:
    config = GenerationConfig(people=5)
    first, again, other = (list(islice(generate(config, seed), 20)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"people": 1}, "people: 1 is outside 2 to 8"),
        ({"people": 9}, "people: 9 is outside"),
        ({"depth": 0}, "depth: 0 is outside"),
        ({"kinds": ("is", "xor")}, "unknown xor"),
        ({"kinds": ("is", "not")}, "no puzzle has one solution"),
        ({"names": ("Mia", "Noah")}, "2 names for 3 people"),
        ({"names": ("Mia", "Noah", "Mia")}, "stands twice"),
        ({"names": ("Mia", "Noah", "Van Dyke")}, "'Van Dyke' is not one word"),
        ({"phrasing": "fancy"}, "phrasing: 'fancy'"),
        ({"style": "long"}, "style: 'long'"),
    ],
)
def test_bad_configs_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerationConfig(**wrong)


def test_kinds_without_a_binary_connective_never_have_one_solution() -> None:
    """Why they are refused: flipping everybody's role keeps every claim about one person fitting."""
    atoms = [(kind, i) for kind in ("telling-truth", "lying") for i in range(3)]
    assert all(len(brute_force((a, b, c))) != 1 for a in atoms for b in atoms for c in atoms)


def test_prompt_of_the_default_style() -> None:
    system, user = render_prompt(MIA, GenerationConfig(people=2, phrasing="plain"), Random(0))
    assert system == {"role": "system", "content": SYSTEM}
    assert user["role"] == "user"
    assert user["content"] == (
        "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves "
        "always lie. You meet 2 inhabitants: Mia and Noah. Mia says that Mia is a knave and Noah is a knave. "
        "Noah says that if Mia is a knave then Mia is a knave. So who is a knight and who is a knave?"
    )


def test_prompt_of_the_short_style_ends_with_the_names() -> None:
    (user,) = render_prompt(MIA, GenerationConfig(people=2, phrasing="plain", style="short"), Random(0))
    assert user["content"] == (
        "Mia says that Mia is a knave and Noah is a knave. Noah says that if Mia is a knave then Mia is a knave. "
        "So who among Mia and Noah is a knight and who is a knave?"
    )


def test_varied_phrasing_varies_and_names_every_speaker() -> None:
    rng = Random(0)
    config = GenerationConfig(people=2)
    texts = {render_prompt(MIA, config, rng)[1]["content"] for _ in range(50)}
    assert len(texts) > 30
    for text in texts:
        claims = text.split("Noah. ", 1)[1]
        assert claims.count("Noah") == 2  # as speaker, and once in Mia's claim
        assert '"if' not in text  # a quotation starts with a capital letter


def test_every_sentence_of_the_short_style_starts_with_a_capital_letter() -> None:
    rng = Random(0)
    for _ in range(30):
        (user,) = render_prompt(MIA, GenerationConfig(people=2, style="short"), rng)
        assert all(sentence[0].isupper() for sentence in user["content"].split(". "))


def test_nested_claims_read_without_ambiguity() -> None:
    names = ("Mia", "Noah")
    both = ("and", ("telling-truth", 0), ("lying", 1))
    assert claim_text(("not", both), names) == "it is not true that (Mia is a knight and Noah is a knave)"
    assert claim_text(("or", both, ("not", ("lying", 0))), names) == (
        "(Mia is a knight and Noah is a knave) or Mia is not a knave"
    )
    assert claim_text(("<=>", ("telling-truth", 1), both), names) == (
        "Noah is a knight if and only if (Mia is a knight and Noah is a knave)"
    )


def test_solution_text() -> None:
    assert render_solution(MIA) == "(1) Mia is a knave\n(2) Noah is a knight"


def test_there_are_many_names() -> None:
    assert len(NAMES) >= 60
    assert len(set(NAMES)) == len(NAMES)


def test_importing_the_package_and_its_command_loads_nothing_heavy() -> None:
    code = (
        "import sys, tr_grpo.data_prep.cli; "
        "print([m for m in ('torch', 'verl', 'numpy', 'pyarrow', 'datasets') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
