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
from tr_grpo.trainer.preflight.finding import Finding, error, one_line, warning

SELF_TEST = 8
"""Rows, spread over the first training file, on which the scorer is tried out."""
MOST_ROWS = 10_000
"""Rows of a file whose ground truths are read here: a second at most."""


def check(config: DictConfig) -> Iterator[Finding]:
    """Settings first, then data sources and ground truths of all files, then one training row end to end."""
    if config.reward.reward_manager.name != "VerdictRewardManager":
        yield from _own_manager(config)  # only it knows its rule
        return
    if config.reward.custom_reward_function.path is not None:
        yield error(
            "TR310",
            f"reward.custom_reward_function.path={config.reward.custom_reward_function.path}: the reward manager "
            "VerdictRewardManager calls its scorer instead",
            "make it a scorer (CONTRIBUTING.md), or choose verl's manager: reward.reward_manager.source=register "
            "reward.reward_manager.name=naive",
        )  # fmt: skip
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
    rows = read_rows(path)
    for number in range(0, len(rows), -(-len(rows) // SELF_TEST)):
        fault = list(_self_test(f"{path}: row {number}", rows[number], scorer, rule, kwargs))
        yield from fault
        if fault:
            return


def _self_test(place: str, row: Row, scorer: ModuleType, rule: Any, kwargs: Any) -> Iterator[Finding]:
    """A right answer in the asked format is right and pays best; a wrong one and none at all are not."""
    try:
        solution = scorer.parse_solution(row["reward_model"]["ground_truth"])
    except ValueError:
        return  # reported by _ground_truths
    try:
        right, wrong, silent = (
            scorer.judge(response, solution, truncated=False, **(kwargs.judge_kwargs or {}))
            for response in (*scorer.examples(solution), "")
        )
    except Exception as problem:  # noqa: BLE001
        # A scorer is anybody's code and may raise anything; in training each such response would have no reward.
        yield error(
            "TR313", f"{place}: {kwargs.scorer} raises {type(problem).__name__} on a right, a wrong or an empty "
            f"response: {one_line(problem)}",
            "correct the scorer: judge() must return a Judgement for every text",
        )  # fmt: skip
        return
    if right.verdict is not Verdict.RIGHT or wrong.verdict is Verdict.RIGHT:
        yield error(
            "TR304", f"{place}: a right answer is judged {right.verdict}, a wrong one {wrong.verdict}",
            "the scorer does not fit the data: check reward.reward_kwargs.scorer and data.train_files",
        )  # fmt: skip
    elif scorer.score(right, rule) <= scorer.score(wrong, rule):
        yield error(
            "TR305", f"rule {kwargs.rule}: a right answer earns no more than a wrong one", "choose another rule"
        )
    elif silent.verdict is Verdict.RIGHT or scorer.score(silent, rule) >= scorer.score(right, rule):
        yield error(
            "TR311",
            f"{place}: an empty response is judged {silent.verdict} and earns {scorer.score(silent, rule):g}, a right "
            f"one {scorer.score(right, rule):g}",
            "correct the scorer or the rule: such a policy learns to say nothing",
        )  # fmt: skip


def _own_manager(config: DictConfig) -> Iterator[Finding]:
    """Load it as verl's reward workers will, after Ray and vLLM have started."""
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    try:
        resolve_reward_manager_cls(config)
    except (ImportError, AttributeError, AssertionError, OSError, RuntimeError, ValueError) as problem:
        # verl wraps what the module itself raises.
        cause = problem.__cause__ or problem
        yield error(
            "TR312",
            f"reward.reward_manager.name={config.reward.reward_manager.name} does not load: {one_line(cause)}",
            "correct reward.reward_manager.name, .source and .module.path",
        )  # fmt: skip


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
