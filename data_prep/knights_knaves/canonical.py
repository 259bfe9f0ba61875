"""When are two puzzles the same? A canonical text that is equal iff they are.

``logical_form``: equal for puzzles that differ only in names, in the order of people and in wording, including
claims rewritten into others with the same truth table. ``wording_form``: equal only if the statement trees
themselves agree after renaming and reordering (of people, and of the parts of and/or/iff).

Both are exact canonical labellings: people get colours from properties that no renaming changes, colours are
refined through who speaks about whom, and ties are broken by trying every member of a class and keeping the
least text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from tr_grpo.data_prep.knights_knaves.logic import ATOMS, Puzzle, Statement, person_tables, truth_table

Positions = Sequence[int]  # person -> place in the canonical order
Links = tuple[tuple[int, int], ...]  # (person spoken about, that person's part in the claim's table)


def logical_form(puzzle: Puzzle) -> str:
    """Text equal for two puzzles iff one becomes the other by renaming, reordering and equal truth tables."""
    return form_of_tables([truth_table(claim, puzzle.people) for claim in puzzle.claims], puzzle.solution)


def form_of_tables(tables: Sequence[int], solution: Sequence[bool]) -> str:
    """``logical_form`` of the puzzle whose claims have these truth tables (one a person, 2^people bits)."""
    people = len(tables)
    reduced = [_reduce(table, people) for table in tables]

    def encode(positions: Positions) -> str:
        claims: list[tuple[int, ...]] = [()] * people
        for speaker, (about, table) in enumerate(reduced):
            places = [positions[person] for person in about]
            order = tuple(sorted(range(len(places)), key=places.__getitem__))
            claims[positions[speaker]] = (*(places[k] for k in order), _reorder(table, order))
        return str(claims)

    return _canonical(tables, solution, encode)


def wording_form(puzzle: Puzzle) -> str:
    """Text equal for two puzzles iff their statement trees agree after renaming and reordering."""
    tables = [truth_table(claim, puzzle.people) for claim in puzzle.claims]

    def encode(positions: Positions) -> str:
        claims = [""] * puzzle.people
        for speaker, claim in enumerate(puzzle.claims):
            claims[positions[speaker]] = _tree(claim, positions)
        return str(claims)

    return _canonical(tables, puzzle.solution, encode)


def _canonical(tables: Sequence[int], solution: Sequence[bool], encode: Callable[[Positions], str]) -> str:
    """Least ``encode(positions)`` over the leaves of the search; ``encode`` must determine the puzzle."""
    people = len(tables)
    links = [_links(table, people) for table in tables]
    spoken_of: list[list[tuple[int, int]]] = [[] for _ in range(people)]
    for speaker, about in enumerate(links):
        for person, part in about:
            spoken_of[person].append((speaker, part))
    start = [
        (knight, table.bit_count(), len(about)) for knight, table, about in zip(solution, tables, links, strict=True)
    ]

    def refine(colours: list[int]) -> list[int]:
        classes = len(set(colours))
        while classes < people:
            signatures = [
                (
                    colours[i],
                    sorted([(part, colours[j], i == j) for j, part in links[i]]),
                    sorted([(part, colours[j]) for j, part in spoken_of[i]]),
                )
                for i in range(people)
            ]
            colours = _rank(signatures)
            if len(set(colours)) == classes:
                break
            classes = len(set(colours))
        return colours

    def search(colours: list[int]) -> str:
        colours = refine(colours)
        cell = _first_tie(colours)
        if not cell:
            return encode(colours)
        best = ""
        tried: list[int] = []
        for person in cell:
            if any(_interchangeable(person, other, encode, people) for other in tried):
                continue  # the swap maps this branch onto one already searched
            tried.append(person)
            text = search(_rank([(c, i != person) for i, c in enumerate(colours)]))
            best = min(best, text) if best else text
        return best

    return search(_rank(start))


def _rank(signatures: Sequence[object]) -> list[int]:
    """Each signature's place: the number of people with a smaller one, so distinct colours are positions."""
    order = sorted(signatures)  # type: ignore[type-var]
    return [order.index(signature) for signature in signatures]


def _first_tie(colours: Sequence[int]) -> list[int]:
    for colour in sorted(set(colours)):
        cell = [i for i, c in enumerate(colours) if c == colour]
        if len(cell) > 1:
            return cell
    return []


def _interchangeable(a: int, b: int, encode: Callable[[Positions], str], people: int) -> bool:
    swapped = list(range(people))
    swapped[a], swapped[b] = b, a
    return encode(swapped) == encode(range(people))


@lru_cache(maxsize=1 << 16)
def _links(table: int, people: int) -> Links:
    """The people a table depends on, each with the number of assignments where it holds and they are knights."""
    return tuple(
        (i, (table & knight).bit_count())
        for i, knight in enumerate(person_tables(people))
        if (table & knight) >> (1 << i) != table & ~knight
    )


@lru_cache(maxsize=1 << 16)
def _reduce(table: int, people: int) -> tuple[tuple[int, ...], int]:
    """The people a table depends on, and its table over them alone (bit b: their bits are b, others are 0)."""
    about = tuple(i for i, _ in _links(table, people))
    small = 0
    for b in range(1 << len(about)):
        assignment = sum((b >> k & 1) << person for k, person in enumerate(about))
        small |= (table >> assignment & 1) << b
    return about, small


@lru_cache(maxsize=1 << 16)
def _reorder(table: int, order: tuple[int, ...]) -> int:
    """A table after its variables were put in ``order`` (new k-th variable is the old ``order[k]``-th)."""
    result = 0
    for b in range(1 << len(order)):
        old = sum((b >> k & 1) << variable for k, variable in enumerate(order))
        result |= (table >> old & 1) << b
    return result


def _tree(statement: Statement, positions: Positions) -> str:
    kind, *parts = statement
    if kind in ATOMS:
        return f"{kind} {positions[parts[0]]}"
    texts = [_tree(part, positions) for part in parts]
    if kind in ("and", "or", "<=>"):
        texts.sort()
    return f"({kind} {', '.join(texts)})"
