"""Which scorers there are, what a scorer has to have, and which data each of them scores.

A scorer is a module with

* ``DATA_SOURCES``: patterns (``fnmatch``) of the ``data_source`` names whose ground truths it understands,
* ``parse_solution(ground_truth)``: cheap; ValueError for a ground truth that it cannot use,
* ``judge(response, solution, *, truncated, **judge_kwargs)``: a ``Judgement``; never raises for any response,
* ``RULES`` (name -> rule) and ``score(judgement, rule)``: the reward,
* ``examples(solution)``: a right and a wrong response, for the preflight,

and, where an agent loop makes responses: a ``judge`` that also takes ``trajectory`` (reward/trajectory.py, or None),
and ``measure(solution, judgement, trajectory)``: numbers to log of a response, under the same keys always;

and, where ``judge`` may take long, ``judge_quickly``: the same call in bounded time, None where it cannot decide; and
``warm_up()``, here or in a submodule ``warming``: what the pool loads before it judges (reward/pool_server.py).
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import import_module
from types import ModuleType
from typing import Any

SCORERS = ("tr_grpo.reward.knights_knaves", "tr_grpo.reward.math", "tr_grpo.reward.search_qa")
SCORER_PARTS = ("DATA_SOURCES", "parse_solution", "judge", "RULES", "score", "examples")


def load_scorer(name: str) -> ModuleType:
    """The scorer module called ``name``.

    Raises:
        ValueError: it cannot be imported, or lacks one of the parts a scorer has.
    """
    try:
        module = import_module(name)
    except ImportError as error:
        raise ValueError(f"reward.reward_kwargs.scorer={name!r} cannot be imported: {error}") from error
    missing = [part for part in SCORER_PARTS if not hasattr(module, part)]
    if missing:
        raise ValueError(f"reward.reward_kwargs.scorer={name!r} lacks {', '.join(missing)}; see CONTRIBUTING.md")
    return module


def pick_rule(scorer: ModuleType, name: str) -> Any:
    """The scorer's rule called ``name``; ValueError lists the known ones."""
    if name not in scorer.RULES:
        raise ValueError(f"reward.reward_kwargs.rule={name!r} is unknown; choose one of: {', '.join(scorer.RULES)}")
    return scorer.RULES[name]


def scores(patterns: Iterable[str], data_source: str) -> bool:
    """True iff one of ``patterns`` matches ``data_source``; case counts."""
    return any(fnmatchcase(data_source, pattern) for pattern in patterns)


def known_data_sources() -> str:
    """All data sources that have a scorer, for messages: ``a, b (module); c (module)``."""
    return "; ".join(f"{', '.join(load_scorer(name).DATA_SOURCES)} ({name})" for name in SCORERS)
