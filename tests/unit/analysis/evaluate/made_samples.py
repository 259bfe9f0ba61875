"""Samples and records as an evaluation has them."""

from typing import Any

from tr_grpo.analysis.evaluate.samples import Sample
from tr_grpo.reward.verdict import Verdict


def made(
    problem: str,
    number: int,
    right: bool = False,
    source: str = "sums",
    part: str = "",
    greedy: bool = False,
    **others: Any,
) -> Sample:
    """A sample whose answer is its verdict, unless ``others`` say so."""
    verdict = str(Verdict.RIGHT if right else Verdict.WRONG)
    values: dict[str, Any] = {
        "response": "text",
        "prompt_tokens": 5,
        "tokens": 10,
        "truncated": False,
        "verdict": verdict,
        "score": float(right),
        "format_ok": True,
        "answer": verdict,
        "failed_searches": 0,
        "measures": "{}",
        "trajectory": None,
        "reason": "",
        "seconds": 0.5,
    }
    return Sample(problem=problem, data_source=source, part=part, sample=number, greedy=greedy, **(values | others))


def record(samples: int = 4, greedy: bool = False, problems: int = 2, limit: int | None = None) -> dict[str, Any]:
    """What a table reads of ``evaluation.json``."""
    sampling = {
        "samples": samples,
        "greedy": greedy,
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": -1,
        "max_tokens": 128,
        "seed": 0,
    }
    return {
        "format": 1,
        "task": "sums",
        "model": {"path": "/models/one", "fingerprint": "f"},
        "limit": limit,
        "problems": problems,
        "sampling": sampling,
        "reward": {"scorer": "tr_grpo.reward.math"},
    }
