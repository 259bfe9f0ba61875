"""Keeping train and test apart: how many logical forms a size has, the split, and its proof from the files.

Level ``form`` (default): no puzzle of one side equals one of the other up to renaming, reordering and equal truth
tables. Level ``wording`` is weaker: only statement trees are kept apart, so a test puzzle may have a train puzzle
with the same truth tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves.canonical import form_of_tables, logical_form, wording_form
from tr_grpo.data_prep.knights_knaves.claims import SYMBOL, claims_of_depth_one, part_kinds
from tr_grpo.data_prep.knights_knaves.config import BINARY_KINDS, GenerationConfig
from tr_grpo.data_prep.knights_knaves.logic import Puzzle, all_true, connect, person_tables, unpack
from tr_grpo.data_prep.knights_knaves.rows import to_puzzle
from tr_grpo.data_prep.knights_knaves.wording import render_solution
from tr_grpo.data_prep.schema import Row

LEVELS: dict[str, Callable[[Puzzle], str]] = {"form": logical_form, "wording": wording_form}
COUNTABLE = 50_000  # combinations of truth tables that are enumerated (about 1 s)
PATIENCE = 30_000  # draws in a row without anything new after which a size counts as exhausted (1 to 3 s)


def count_forms(config: GenerationConfig) -> int | None:
    """Exact number of logical forms with one solution, or None above ``COUNTABLE`` combinations of tables."""
    people, full = config.people, all_true(config.people)
    tables = {table for table, _ in _tables(people, config.depth, config.kinds)}
    if len(tables) ** people > COUNTABLE:
        return None
    knights = person_tables(people)
    claims = [sorted(tables - {knight}) for knight in knights]
    forms = set()
    for choice in product(*claims):
        fitting = full
        for knight, table in zip(knights, choice, strict=True):
            fitting &= full ^ knight ^ table
        if fitting.bit_count() == 1:
            forms.add(form_of_tables(choice, unpack(fitting.bit_length() - 1, people)))
    return len(forms)


def _tables(people: int, depth: int, kinds: tuple[str, ...]) -> set[tuple[int, bool]]:
    """(truth table, whether the claim is a "not") of all that the claim sampler can draw, by its own rules."""
    full = all_true(people)
    menu = claims_of_depth_one(people, kinds)
    reached = {(table, statement[0] == "not") for claims in menu for table, statement in claims}
    if depth == 1:
        return reached
    parts = _tables(people, depth - 1, part_kinds(kinds))
    if len(parts) ** people > 4**people * COUNTABLE:
        return parts  # too many to count already, and deeper claims only add more
    if "not" in kinds:
        reached |= {(full ^ table, True) for table, negated in parts if not negated}
    values = {table for table, _ in parts}
    for kind in set(kinds) & set(BINARY_KINDS):
        for a, b in product(values, values):
            table = connect(SYMBOL[kind], (a, b), full)
            if table not in (0, full, a, b, full ^ a, full ^ b):
                reached.add((table, False))
    return reached


def check_enough(config: GenerationConfig, train: int, test: int, level: str) -> None:
    """Raise ``InputError`` where it is known beforehand that the size has too few logical forms."""
    if level != "form" or test == 0:
        return
    forms = count_forms(config)
    if forms is not None and test + (train > 0) > forms:
        raise _too_few(config, f"there are {forms} logical forms", test, train, level)


def distinct(
    puzzles: Iterable[Puzzle], config: GenerationConfig, train: int, test: int, level: str
) -> Iterator[Puzzle]:
    """The test side: ``test`` puzzles that pairwise differ at ``level``."""
    key = LEVELS[level]
    seen: set[str] = set()
    misses = 0
    for puzzle in puzzles:
        if len(seen) == test:
            return
        form = key(puzzle)
        if form in seen:
            misses += 1
            if misses >= PATIENCE:
                found = f"{len(seen)} were found, then no new one in {misses} draws"
                raise _too_few(config, found, test, train, level)
            continue
        misses = 0
        seen.add(form)
        yield puzzle


def apart(puzzles: Iterable[Puzzle], taken: set[str], config: GenerationConfig, level: str) -> Iterator[Puzzle]:
    """The train side: the stream without the puzzles whose form at ``level`` is in ``taken`` (the test's)."""
    key = LEVELS[level]
    misses = 0
    for puzzle in puzzles:
        if key(puzzle) not in taken:
            misses = 0
            yield puzzle
        else:
            misses += 1
            if misses >= PATIENCE:
                raise _too_few(config, f"{len(taken)} were found", len(taken), 1, level)


def _too_few(config: GenerationConfig, found: str, test: int, train: int, level: str) -> InputError:
    what = "logical forms" if level == "form" else "wordings"
    weaker = ", or keep only wordings apart with --separation wording" if level == "form" else ""
    return InputError(
        f"{config.people} people with kinds {' '.join(config.kinds)} at depth {config.depth}: {found}, but "
        f"--test {test} takes {test} different {what}{' and train needs others' if train else ''}; "
        f"lower --test, allow more --kinds or --depth{weaker}"
    )


def measure(train: Iterable[Row], test: Iterable[Row], level: str) -> dict[str, object]:
    """What rows read back from the files share at ``level``.

    ``proved`` is true iff both sides have rows and no form of one is on the other.
    """
    key = LEVELS[level]
    train_forms = {key(to_puzzle(row)) for row in train}
    test_list = [key(to_puzzle(row)) for row in test]
    shared = train_forms & set(test_list)
    return {
        "level": level,
        "train_forms": len(train_forms),
        "test_forms": len(set(test_list)),
        "shared": len(shared),
        "test_rows_shared": sum(form in shared for form in test_list),
        "proved": bool(train_forms and test_list) and not shared,
    }


def prove_solutions(rows: Iterable[Row], file: str) -> int:
    """Number of rows read back from ``file``, each proved to have one solution, which is its ground truth."""
    number = -1
    for number, row in enumerate(rows):
        puzzle = to_puzzle(row)
        try:
            puzzle.prove()
        except InputError as error:
            raise InputError(f"{file}: row {number}: {error}; prepare the file again") from error
        if row["reward_model"]["ground_truth"] != render_solution(puzzle):
            raise InputError(f"{file}: row {number}: the ground truth is not its solution; prepare it again")
    return number + 1
