"""TR3xx: each data source has a scorer, which reads its ground truths and tells a right answer from a wrong one."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig

from tr_grpo.data_prep.schema import Row, read_rows
from tr_grpo.reward.overlong import Overlong
from tr_grpo.reward.pool import PoolSettings
from tr_grpo.reward.scorers import SCORERS, known_data_sources, load_scorer, pick_rule, scores
from tr_grpo.reward.verdict import Verdict
from tr_grpo.trainer.preflight.data import files
from tr_grpo.trainer.preflight.finding import Finding, error, warning

MOST_ROWS = 10_000
"""Rows of a file whose ground truths are read here: a second at most."""


def check(config: DictConfig) -> Iterator[Finding]:
    """Settings first, then data sources and ground truths of all files, then one training row end to end."""
    if config.reward.reward_manager.name != "VerdictRewardManager":
        return  # the user's own manager: verl loads it, and only it knows its rule
    kwargs = config.reward.reward_kwargs
    try:
        scorer = load_scorer(kwargs.scorer)
        rule = pick_rule(scorer, kwargs.rule)
    except ValueError as problem:
        yield error("TR302", str(problem), "choose a scorer and rule that exist")
        return
    yield from _overlong(config)
    try:
        PoolSettings.read(kwargs.pool or {})
    except ValueError as problem:
        yield error("TR308", str(problem), "see reward/pool.py")
    if kwargs.pool is not None and hasattr(scorer, "measure"):
        yield error(
            "TR308", f"{kwargs.scorer} judges trajectories, which the pool does not get, and in bounded time",
            "set reward.reward_kwargs.pool=null",
        )  # fmt: skip
    if kwargs.pool is None and hasattr(scorer, "judge_quickly"):
        yield warning(
            "TR309", f"{kwargs.scorer} may take long over a response, and reward.reward_kwargs.pool is null: one that "
            "hangs holds up its reward worker for ever",
            "set it as task=math does",
        )  # fmt: skip
    for key in ("train_files", "val_files"):
        for path in files(config, key):
            rows = read_rows(path)
            yield from _data_sources(path, rows, scorer, kwargs)
            yield from _ground_truths(path, rows[:MOST_ROWS], scorer, kwargs.scorer)
    path = files(config, "train_files")[0]
    try:
        solution = scorer.parse_solution(read_rows(path)[0]["reward_model"]["ground_truth"])
    except ValueError:
        return  # reported above
    right, wrong = (
        scorer.judge(example, solution, truncated=False, **(kwargs.judge_kwargs or {}))
        for example in scorer.examples(solution)
    )
    if right.verdict is not Verdict.RIGHT or wrong.verdict is Verdict.RIGHT:
        yield error(
            "TR304", f"{path}: row 0: a right answer is judged {right.verdict}, a wrong one {wrong.verdict}",
            "the scorer does not fit the data: check reward.reward_kwargs.scorer and data.train_files",
        )  # fmt: skip
    elif scorer.score(right, rule) <= scorer.score(wrong, rule):
        yield error(
            "TR305", f"rule {kwargs.rule}: a right answer earns no more than a wrong one", "choose another rule"
        )


def _overlong(config: DictConfig) -> Iterator[Finding]:
    try:
        overlong = Overlong(**config.reward.reward_kwargs.overlong)
    except (TypeError, ValueError) as problem:
        yield error("TR307", str(problem), "see reward/overlong.py")
        return
    if overlong.mode == "mask" and not config.trainer.use_v1:
        yield error(
            "TR307", "reward.reward_kwargs.overlong.mode=mask acts in the replay buffer, which only the V1 trainer has",
            "set trainer.use_v1=true, or mode=penalize",
        )  # fmt: skip


def _data_sources(path: Path, rows: list[Row], scorer: ModuleType, kwargs: Any) -> Iterator[Finding]:
    """verl would stop at the first such row, or worse, a scorer would judge what it does not understand."""
    wanted = (*scorer.DATA_SOURCES, *(kwargs.get("data_sources") or ()))
    counts = Counter(str(row["data_source"]) for row in rows)
    for source in (source for source in counts if not scores(wanted, source)):
        other = [name for name in SCORERS if scores(load_scorer(name).DATA_SOURCES, source)]
        place = f"{path}: data source {source!r} ({counts[source]} rows)"
        if other:
            yield error(
                "TR306", f"{place} is scored by {other[0]}, not by reward.reward_kwargs.scorer={kwargs.scorer}",
                "choose the task that goes with the data",
            )  # fmt: skip
        else:
            yield error(
                "TR306", f"{place} has no scorer; known are {known_data_sources()}",
                f"rename it, or let {kwargs.scorer} score it: reward.reward_kwargs.data_sources=[{source}]",
            )  # fmt: skip


def _ground_truths(path: Path, rows: list[Row], scorer: ModuleType, name: str) -> Iterator[Finding]:
    faults = []
    for number, row in enumerate(rows):
        try:
            scorer.parse_solution(row["reward_model"]["ground_truth"])
        except ValueError as problem:
            faults.append((number, problem))
    if faults:
        number, fault = faults[0]
        rest = f" (and {len(faults) - 1} more of {len(rows)} rows)" if len(faults) > 1 else ""
        yield error(
            "TR303", f"{path}: row {number}: {name} cannot read the ground truth: {fault}{rest}",
            "prepare the file again, or correct the row",
        )  # fmt: skip
