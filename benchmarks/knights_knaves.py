"""Knights and knaves on one core: puzzles a second and answers a second, against what one would use otherwise.

    python benchmarks/knights_knaves.py [--rounds 5] [--seconds 0.5]

Every number is the median of interleaved rounds in one process, per second of CPU time, so that a machine that also
does other work gives the same numbers. Generation is compared with reasoning-gym 0.1.25
(``pip install reasoning-gym==0.1.25``), whose ``depth_constraint`` 2 is this package's depth 1; both make a puzzle,
prove that it has one solution and render its text. Scoring is compared with Logic-RL's rule.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from random import Random

from rich.console import Console
from rich.table import Table

from tr_grpo.data_prep.knights_knaves import (
    GenerationConfig,
    generate,
    logical_form,
    render_prompt,
    render_solution,
)
from tr_grpo.reward.knights_knaves import judge

Task = Callable[[], object]


def rate(task: Task, seconds: float) -> float:
    """Calls of ``task`` per second of CPU time, over at least ``seconds`` s."""
    start = time.process_time()
    for calls in count(1):
        task()
        elapsed = time.process_time() - start
        if elapsed >= seconds:
            return calls / elapsed
    raise AssertionError("unreachable: count() does not end")


def interleaved(tasks: Mapping[str, Task], rounds: int, seconds: float) -> dict[str, float]:
    """Median rate of each task over ``rounds`` rounds, in each of which every task runs once."""
    rates: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            rates[name].append(rate(task, seconds))
    return {name: statistics.median(values) for name, values in rates.items()}


def ours(people: int, separate: bool) -> Task:
    """Make, prove and render one puzzle; with ``separate`` also look its logical form up."""
    config, rng = GenerationConfig(people=people), Random(0)
    stream = generate(config, 0)
    forms: set[str] = set()

    def one() -> None:
        puzzle = next(stream)
        render_prompt(puzzle, config, rng)
        render_solution(puzzle)
        if separate:
            forms.add(logical_form(puzzle))

    return one


def reasoning_gym(people: int) -> Task:
    """Make, prove and render one puzzle of reasoning-gym."""
    from reasoning_gym.logic.knights_knaves import KnightsKnavesConfig, KnightsKnavesDataset

    data = KnightsKnavesDataset(KnightsKnavesConfig(n_people=people, seed=0, size=1 << 30))
    index: Iterator[int] = count()
    return lambda: data[next(index)]


ROLE = re.compile(r"\b(knight|knave)\b", re.IGNORECASE)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def plain_rule(response: str, solution: Mapping[str, bool]) -> float:
    """Logic-RL's rule as its description reads: tags once and in order, then one pattern a person."""
    places = [response.find(tag) for tag in TAGS]
    good = all(response.count(tag) == 1 for tag in TAGS) and places == sorted(places)
    blocks = re.findall(r"<answer>(.*?)</answer>", response, re.DOTALL)
    score = 1.0 if good else -1.0
    if not good or not blocks:
        return score - 2
    answer = blocks[-1]
    said = {}
    for name in solution:
        match = re.search(rf"\b{re.escape(name)}\b.*?\b(knight|knave)\b", answer, re.IGNORECASE)
        if match is None:
            return score - 2
        said[name] = match.group(1).lower() == "knight"
    if len(ROLE.findall(answer)) != len(solution):
        return score - 2
    return score + (2 if said == solution else -1.5)


def answers(amount: int) -> list[tuple[str, dict[str, bool]]]:
    """Responses of about 1,100 characters on 5 people: right, wrong, without answer tags, a person left out."""
    made = []
    for number, puzzle in enumerate(islice(generate(GenerationConfig(people=5), 1), amount)):
        solution = dict(zip(puzzle.names, puzzle.solution, strict=True))
        text = render_solution(puzzle)
        if number % 4 == 1:
            text = text.replace("knight", "knave")
        if number % 4 == 3:
            text = text.rsplit("\n", 1)[0]
        thought = f"<think>{f'If {puzzle.names[0]} lies, then so does {puzzle.names[1]}. ' * 25}</think>"
        made.append((thought + (text if number % 4 == 2 else f"<answer>{text}</answer>"), solution))
    return made


def scorer(score: Callable[[str, Mapping[str, bool]], object]) -> Task:
    """Score one answer after another, round and round."""
    cases = answers(400)
    place = count()

    def one() -> None:
        response, solution = cases[next(place) % len(cases)]
        score(response, solution)

    return one


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per measurement")
    given = parser.parse_args()

    table = Table("people", "ours /s", "with separation /s", "reasoning-gym /s", "ratio", "ratio with separation")
    for people in (3, 5, 8):
        tasks = {
            "ours": ours(people, separate=False),
            "apart": ours(people, separate=True),
            "gym": reasoning_gym(people),
        }
        got = interleaved(tasks, given.rounds, given.seconds)
        ratios = (f"{got['ours'] / got['gym']:.0f} x", f"{got['apart'] / got['gym']:.0f} x")
        table.add_row(str(people), *(f"{got[name]:,.0f}" for name in tasks), *ratios)
    scoring = Table("scorer", "answers /s")
    tasks = {"tr_grpo.reward.knights_knaves.judge": scorer(judge), "Logic-RL's rule": scorer(plain_rule)}
    for name, value in interleaved(tasks, given.rounds, given.seconds).items():
        scoring.add_row(name, f"{value:,.0f}")
    console = Console()
    console.print("Puzzles: made, proved to have one solution, rendered", table)
    console.print("Scoring: 5 people, responses of about 1,100 characters", scoring)


if __name__ == "__main__":
    main()
