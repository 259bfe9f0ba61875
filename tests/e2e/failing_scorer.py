"""The Knights & Knaves scorer with a fault that shows in training only: what the preflight tries is judged."""

from collections.abc import Mapping
from typing import Any

from tr_grpo.reward.knights_knaves import DATA_SOURCES, RULES, examples, parse_solution, score
from tr_grpo.reward.knights_knaves import judge as real_judge
from tr_grpo.reward.verdict import Judgement

__all__ = ["DATA_SOURCES", "RULES", "examples", "judge", "parse_solution", "score"]


def judge(response: str, solution: Mapping[str, bool], **options: Any) -> Judgement:
    """As the real one for the preflight's examples and for silence; any other response raises ZeroDivisionError."""
    if response and "An example." not in response:
        raise ZeroDivisionError("the scorer's own fault")
    return real_judge(response, solution, **options)
