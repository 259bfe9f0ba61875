"""Scorer of questions that are answered with a search engine: response and aliases in, `Judgement` and reward out.

    <think>…</think><search>…</search>  [information]  <think>…</think><answer>Paris</answer>

The answer is read from the policy's own last turn (:mod:`reading`) and compared with each alias (:mod:`matching`). A
passage cannot win, whatever tags it holds, and neither can two answers that differ. Pure: nothing heavy is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tr_grpo.reward.search_qa.matching import grades, occurs
from tr_grpo.reward.search_qa.reading import (
    ANSWER_TAG,
    FORMATS,
    MAX_ANSWER_CHARS,
    keeps_format,
    last_words,
    read_answer,
    turns_of,
)
from tr_grpo.reward.trajectory import End, Trajectory
from tr_grpo.reward.verdict import Judgement, Verdict

__all__ = ["DATA_SOURCES", "RULES", "Rule", "Solution", "examples", "judge", "measure", "parse_solution", "score"]

DATA_SOURCES = (
    "search_qa/*",
    # verl's names (verl/utils/reward_score/__init__.py), and Search-R1's own (verl/trainer/main_ppo_format.py)
    "searchR1_*",
    "nq",
    "triviaqa",
    "popqa",
    "hotpotqa",
    "2wikimultihopqa",
    "musique",
    "bamboogle",
)
MATCHES = {"em": "em", "f1": "em", "cover": "cover"}
"""By ``match``: the grade that makes an answer right. F1 is a reward, not a yes or no: EM decides there."""


@dataclass(frozen=True, slots=True)
class Solution:
    """All spellings that count as right; at least one, none blank."""

    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """Rewards by outcome. An answer between right and wrong earns its share of the way from the lower to the upper."""

    right: float = 1.0
    right_unformatted: float = 1.0
    formatted: float = 0.0
    """Format kept, not right."""
    answered: float = 0.0
    """An answer was read, not right, format not kept; nothing read earns 0."""
    grade: str = "em"
    """Which grade pays: ``em``, ``f1`` or ``cover``, whatever ``match`` makes the verdict."""


RULES: dict[str, Rule] = {
    # 1 and 0 (Search-R1, arXiv 2503.09516).
    "em": Rule(),
    # Totals 1, 0.8, 0.2, 0.1 and 0: compute_score_em in qa_em_format.py with the amounts of Search-R1's v0.3 scripts
    # (structure_format_score=0.2, final_format_score=0.1, retrieval_score=0; arXiv 2505.15117).
    "em_format": Rule(1.0, 0.8, 0.2, 0.1),
    "f1": Rule(grade="f1"),
    "cover": Rule(grade="cover"),
    # 0.1 more for the format: a first step for tiny models.
    "em_soft": Rule(1.1, 1.0, 0.1),
}


def parse_solution(ground_truth: object) -> Solution:
    """The aliases of ``{"target": [...]}`` (Search-R1), a list, an array as parquet gives it, or one text.

    Blank aliases are left out: they would be contained in any answer. Raises ValueError where none is left, or where
    one is not text, holds an answer tag, or is too long to be read.
    """
    target: Any = ground_truth.get("target") if isinstance(ground_truth, Mapping) else ground_truth
    if hasattr(target, "tolist"):
        target = target.tolist()
    if isinstance(target, str):
        target = [target]
    if not isinstance(target, list | tuple):
        raise ValueError(f"ground truth has to be text, a list, or hold one as 'target': {ground_truth!r:.200}")
    for alias in target:
        if not isinstance(alias, str):
            raise ValueError(f"ground truth holds {alias!r:.60}, which is not text")
        if len(alias) > MAX_ANSWER_CHARS or ANSWER_TAG.search(alias):
            raise ValueError(f"ground truth holds {alias[:60]!r}, which no answer could be")
    aliases = tuple(dict.fromkeys(alias.strip() for alias in target if alias.strip()))
    if not aliases:
        raise ValueError("ground truth holds no answer")
    return Solution(aliases)


def judge(
    response: str,
    solution: Solution,
    *,
    truncated: bool = False,
    trajectory: Trajectory | None = None,
    match: str = "em",
    format: str = "search_r1",
) -> Judgement:
    """Judge one response, in time linear in its length times the number of aliases.

    truncated: the response ran into the length limit; an answer that was complete before still counts.
    trajectory: who said what; without it, turns are what stands between the response's ``<information>`` blocks.
    match: the verdict is right where the answer is an alias (``em``, ``f1``) or contains one (``cover``).
    format: ``search_r1`` asks for its tags throughout, ``answer`` only for one ``<answer>``: native tool calling.
    Raises ValueError for an unknown ``match`` or ``format``; never for any response.
    """
    if match not in MATCHES:
        raise ValueError(f"match={match!r} is unknown; choose one of: {', '.join(MATCHES)}")
    if format not in FORMATS:
        raise ValueError(f"format={format!r} is unknown; choose one of: {', '.join(FORMATS)}")
    judgement = _judge(response, solution, truncated, trajectory, match, format)
    if judgement.verdict is Verdict.RIGHT or trajectory is None or not trajectory.failed:
        return judgement
    reason = f"{trajectory.failed} of {trajectory.searches} searches failed; {judgement.reason}"
    return replace(judgement, verdict=Verdict.SEARCH_FAILED, reason=reason)


def score(judgement: Judgement, rule: Rule) -> float:
    """Reward of a judged response."""
    upper = rule.right if judgement.format_ok else rule.right_unformatted
    lower = rule.formatted if judgement.format_ok else rule.answered if judgement.answer is not None else 0.0
    grade = judgement.grades.get(rule.grade, 0.0)
    return grade * upper + (1 - grade) * lower


def measure(solution: Solution, judgement: Judgement, trajectory: Trajectory | None) -> dict[str, float]:
    """What is logged of a trajectory; the same keys always, all but the grades 0 without one."""
    graded = {name: judgement.grades.get(name, 0.0) for name in ("f1", "cover")}
    counts = dict.fromkeys(
        ("searches", "searches_failed", "turns", "turns_invalid", "observation_tokens", "answer_seen", "searched"), 0.0
    )
    if trajectory is None:
        return counts | graded
    counts |= {
        "searches": float(trajectory.searches),
        "searches_failed": float(trajectory.failed),
        "turns": float(len(trajectory.turns)),
        "turns_invalid": float(trajectory.invalid),
        "observation_tokens": float(trajectory.observation_tokens),
        "answer_seen": float(any(occurs(solution.aliases, text) for text in trajectory.observations)),
        "searched": float(trajectory.searches > 0),
    }
    return counts | graded


def examples(solution: Solution) -> tuple[str, str]:
    """A right and a wrong response, for the preflight: wrong by every measure, since no alias has its one letter."""
    used = "".join(solution.aliases).lower()
    wrong = next(chr(code) for code in range(ord("b"), 0xD800) if chr(code).isalnum() and chr(code) not in used)
    template = "<think>An example.</think>\n<answer>{}</answer>"
    return template.format(solution.aliases[0]), template.format(wrong)


def _judge(
    response: str, solution: Solution, truncated: bool, trajectory: Trajectory | None, match: str, format: str
) -> Judgement:
    """As if all searches had worked."""
    turns = turns_of(response, trajectory)
    read = read_answer(last_words(turns, trajectory))
    if read.answer is None:
        verdict = read.verdict
        if verdict is not Verdict.UNPARSABLE:
            verdict = _ended(trajectory, truncated) or verdict
        return Judgement(verdict, False, None, read.fault)
    format_ok = keeps_format(turns, trajectory.invalid if trajectory else 0, read, format)
    found = grades(read.answer, solution.aliases)
    right = found[MATCHES[match]] == 1.0
    answer = " ".join(read.answer.split())
    return Judgement(
        Verdict.RIGHT if right else Verdict.WRONG, format_ok, answer, "" if right else "not the solution", found
    )


def _ended(trajectory: Trajectory | None, truncated: bool) -> Verdict | None:
    """What kept the policy from answering, if anything did."""
    if trajectory is not None and trajectory.end is End.OUT_OF_TURNS:
        return Verdict.OUT_OF_TURNS
    if truncated or (trajectory is not None and trajectory.end is End.TRUNCATED):
        return Verdict.TRUNCATED
    return None
