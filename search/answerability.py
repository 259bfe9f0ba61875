"""How many questions an index can answer at all: an alias of the answer stands in one of the best passages.

A policy that searches for the question as it stands finds no more than that; one that asks otherwise, over several
turns, may. A small share says that the corpus does not fit the questions, before a run spends its hours finding out.
An alias may also stand in a passage by chance: the share is of passages that hold it, not of passages that prove it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math.faults import Fault
from tr_grpo.data_prep.schema import read_rows
from tr_grpo.data_prep.search_qa.questions import question_of
from tr_grpo.reward.search_qa import Solution, parse_solution
from tr_grpo.reward.search_qa.matching import normalise, occurs
from tr_grpo.search.passage import Hit
from tr_grpo.search.retriever import Retriever

DEPTHS = (1, 3, 5, 10)
BATCH = 256  # questions of a search
Z = 1.959964  # 95 %

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a data file."""

    text: str
    solution: Solution
    data_source: str


@dataclass(frozen=True, slots=True)
class Share:
    """Of one data source: how many questions have an answer in their ``depth`` best passages."""

    data_source: str
    depth: int
    found: int
    questions: int

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.found / self.questions

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share (Wilson 1927)."""
        count, weight = self.questions, 1 + Z * Z / self.questions
        centre = (self.share + Z * Z / (2 * count)) / weight
        half = Z * math.sqrt(self.share * (1 - self.share) / count + Z * Z / (4 * count * count)) / weight
        return max(0.0, centre - half), min(1.0, centre + half)


def covers(aliases: Sequence[str], text: str) -> bool:
    """Whether an alias stands in ``text`` as a run of characters, both normalised: ``10`` is in ``2010``."""
    form = normalise(text)
    return any(wanted in form for wanted in map(normalise, aliases) if wanted)


MATCHES: dict[str, Callable[[Sequence[str], str], bool]] = {"words": occurs, "characters": covers}


def answerability(
    data: Path, retriever: Retriever, top_k: int = DEPTHS[-1], match: str = "words", progress: Progress = lambda n: None
) -> list[Share]:
    """The share that is answerable, for each data source of a prepared parquet file and each depth up to ``top_k``.

    match: an alias has to stand in title or text in whole words (``words``), or in any place (``characters``, as
        Search-R1's ``subem``). progress: called with the number of questions just searched.
    Raises InputError for a file that cannot be read, and a row without a question or answers.
    """
    if match not in MATCHES:
        raise InputError(f"--match {match}: has to be one of {', '.join(MATCHES)}")
    depths = [depth for depth in DEPTHS if depth < top_k] + [top_k]
    questions = list(read_questions(data))
    ranks: dict[str, list[int | None]] = defaultdict(list)
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        for asked, hits in zip(batch, retriever.search([one.text for one in batch], top_k), strict=True):
            ranks[asked.data_source].append(rank(asked.solution, hits, MATCHES[match]))
        progress(len(batch))
    return [
        Share(source, depth, sum(place is not None and place <= depth for place in places), len(places))
        for source, places in ranks.items()
        for depth in depths
    ]


def read_questions(data: Path) -> Iterator[Asked]:
    """The questions of a prepared parquet file."""
    for number, row in enumerate(read_rows(data)):
        try:
            solution = parse_solution(row["reward_model"]["ground_truth"])
            yield Asked(question_of(row), solution, str(row["data_source"]))
        except (Fault, ValueError, KeyError, TypeError) as error:
            fault = f"no column {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{data}: row {number}: {fault}; prepare it with `tr-grpo prep search-qa`") from error


def rank(solution: Solution, hits: Sequence[Hit], found: Callable[[Sequence[str], str], bool]) -> int | None:
    """The place, from 1, of the first passage that holds an alias; None: no passage does."""
    places = (place for place, hit in enumerate(hits, 1) if found(solution.aliases, hit.passage.contents))
    return next(places, None)


def answerable(
    index: Annotated[Path, typer.Argument(help="Folder of the index.")],
    data: Annotated[Path, typer.Option(help="A parquet file of `tr-grpo prep search-qa`.")],
    top_k: Annotated[int, typer.Option(help="Passages of a question that are looked into.", min=1)] = DEPTHS[-1],
    match: Annotated[str, typer.Option(help="words: an alias in whole words; characters: anywhere.")] = "words",
    kind: Annotated[str | None, typer.Option(help="Of a fused index: bm25 or dense.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Where the encoder lies now, if it was moved.")] = None,
    device: Annotated[str, typer.Option(help="Where the encoder runs.")] = "cpu",
) -> None:
    """How many questions have an answer in the passages that the index finds for them."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    from tr_grpo.search.opening import open_index

    retriever = open_index(index, kind=kind, encoder=encoder, device=device)
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("questions", total=None)
        shares = answerability(data, retriever, top_k, match, lambda count: bar.advance(task, count))
    for share in shares:
        low, high = share.interval
        typer.echo(
            f"{share.data_source}: top {share.depth}: {share.found} of {share.questions} questions, "
            f"{share.share:.1%} (95 %: {low:.1%} to {high:.1%})"
        )
