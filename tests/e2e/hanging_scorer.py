"""The Knights & Knaves scorer that never comes back from the second training batch on."""

import time
from collections.abc import Mapping
from typing import Any

from tr_grpo.reward.knights_knaves import DATA_SOURCES, RULES, examples, parse_solution, score
from tr_grpo.reward.knights_knaves import judge as real_judge
from tr_grpo.reward.verdict import Judgement

__all__ = ["DATA_SOURCES", "RULES", "examples", "judge", "parse_solution", "score"]

FIRST = 32
"""Responses of the first batch, which are judged."""
_judged = 0


def judge(response: str, solution: Mapping[str, bool], **options: Any) -> Judgement:
    """As the real one, except that it sleeps for ever once ``FIRST`` responses of training are judged."""
    global _judged
    if response and "An example." not in response:
        _judged += 1
        while _judged > FIRST:
            time.sleep(60)
    return real_judge(response, solution, **options)
