"""How a puzzle reads: claims in English, the two prompt styles, and the solution's text.

The ``logic_rl`` style takes its system message and its question from Logic-RL's public data (Apache-2.0), so that
results compare; ``short`` is for tiny models: only the claims, and the names once more at the very end.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tr_grpo.data_prep.knights_knaves.config import GenerationConfig
from tr_grpo.data_prep.knights_knaves.logic import Puzzle, Statement

SYSTEM = (
    "You are a helpful assistant. The assistant first thinks about the reasoning process in the mind and then "
    "provides the user with the answer. The reasoning process and answer are enclosed within <think> </think> and "
    "<answer> </answer> tags, respectively, i.e., <think> reasoning process here </think><answer> answer here "
    "</answer>. Now the user asks you to solve a logical reasoning problem. After thinking, when you finally reach "
    "a conclusion, clearly state the identity of each character within <answer> </answer> tags. i.e., "
    "<answer> (1) Zoey is a knight\n(2) ... </answer>."
)
ISLAND = (
    "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves "
    "always lie. "
)
# {0}: the speaker; {1}: the claim; {2}: the claim as a sentence of its own (first letter upper case).
VARIED = (
    "{0} said that {1}.",
    "{0} told you that {1}.",
    "{0} expressed that {1}.",
    "{0} claimed that {1}.",
    '{0} said, "{2}."',
    '{0} stated, "{2}."',
    '{0} remarked, "{2}."',
    '{0} noted, "{2}."',
    '{0} commented, "{2}."',
    '{0} asserted: "{2}."',
    '{0} was heard saying, "{2}."',
    'According to {0}, "{2}."',
    'As {0} put it, "{2}."',
    'In {0}\'s words: "{2}."',
    'In a statement by {0}: "{2}."',
    '"{2}," {0} declared.',
    '"{2}," {0} mentioned.',
    '"{2}," {0} claimed.',
    '"{2}" - {0}.',
)
VARIED_SHORT = ("{0} says that {1}.", "{0} said that {1}.", "According to {0}, {1}.", "{0} claims that {1}.")
PLAIN = ("{0} says that {1}.",)


def claim_text(statement: Statement, names: Sequence[str]) -> str:
    """``statement`` in English without a final stop; compound parts of a compound stand in parentheses."""
    kind = statement[0]
    if kind == "telling-truth":
        return f"{names[statement[1]]} is a knight"
    if kind == "lying":
        return f"{names[statement[1]]} is a knave"
    if kind == "not":
        inner = statement[1]
        if inner[0] == "telling-truth":
            return f"{names[inner[1]]} is not a knight"
        if inner[0] == "lying":
            return f"{names[inner[1]]} is not a knave"
        return f"it is not true that ({claim_text(inner, names)})"
    parts = [_part(part, names) for part in statement[1:]]
    if kind == "->":
        return f"if {parts[0]} then {parts[1]}"
    if kind == "<=>":
        return f"{parts[0]} if and only if {parts[1]}"
    return f" {kind} ".join(parts)


def _part(statement: Statement, names: Sequence[str]) -> str:
    text = claim_text(statement, names)
    simple = statement[0] in ("telling-truth", "lying") or (
        statement[0] == "not" and statement[1][0] in ("telling-truth", "lying")
    )
    return text if simple else f"({text})"


def claims_text(puzzle: Puzzle, templates: Sequence[str], rng: Random) -> str:
    """All claims in the people's order, each in a template drawn from ``templates``."""
    choices, random = len(templates), rng.random
    sentences = []
    for name, claim in zip(puzzle.names, puzzle.claims, strict=True):
        text = claim_text(claim, puzzle.names)
        sentences.append(templates[int(random() * choices)].format(name, text, text[0].upper() + text[1:]))
    return " ".join(sentences)


def listed(names: Sequence[str]) -> str:
    """ "Mia and Noah", "Mia, Noah, and Emma"."""
    if len(names) == 2:
        return f"{names[0]} and {names[1]}"
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def render_quiz(puzzle: Puzzle, config: GenerationConfig, rng: Random) -> str:
    """The user's message in the config's style and phrasing; ``rng`` picks the phrasings."""
    plain = config.phrasing == "plain"
    if config.style == "short":
        claims = claims_text(puzzle, PLAIN if plain else VARIED_SHORT, rng)
        return f"{claims} So who among {listed(puzzle.names)} is a knight and who is a knave?"
    claims = claims_text(puzzle, PLAIN if plain else VARIED, rng)
    return (
        f"{ISLAND}You meet {puzzle.people} inhabitants: {listed(puzzle.names)}. {claims} "
        "So who is a knight and who is a knave?"
    )


def chat(quiz: str, style: str = "logic_rl") -> list[dict[str, str]]:
    """Chat messages around a quiz: Logic-RL's system message first, or the user's message alone (``short``)."""
    user = {"role": "user", "content": quiz}
    return [user] if style == "short" else [{"role": "system", "content": SYSTEM}, user]


def render_prompt(puzzle: Puzzle, config: GenerationConfig, rng: Random) -> list[dict[str, str]]:
    """The puzzle as chat messages, not templated: ``[{"role": ..., "content": ...}, ...]``."""
    return chat(render_quiz(puzzle, config, rng), config.style)


def render_solution(puzzle: Puzzle) -> str:
    """``(1) Mia is a knight`` and so on, one line a person: the answer that a model should give."""
    return "\n".join(
        f"({number}) {name} is a {'knight' if knight else 'knave'}"
        for number, (name, knight) in enumerate(zip(puzzle.names, puzzle.solution, strict=True), 1)
    )
