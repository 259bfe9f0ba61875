"""The reward of the bare run in ``step_time.py``: our scorer as verl's plain reward function."""

from typing import Any

from tr_grpo.reward.knights_knaves import RULES, judge, parse_solution, score


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
    """Reward of one response under the rule ``tiny``."""
    return score(judge(solution_str, parse_solution(ground_truth)), RULES["tiny"])
