"""TR3xx: the reward, on one real row, tells a right answer from a wrong one."""

from collections.abc import Iterator

from omegaconf import DictConfig

from tr_grpo.data_prep.schema import read_rows
from tr_grpo.reward.verdict import Verdict
from tr_grpo.trainer.preflight.data import files
from tr_grpo.trainer.preflight.finding import Finding, error


def check(config: DictConfig) -> Iterator[Finding]:
    """Score the first training row's ground truth, rendered as a right and as a wrong answer."""
    from tr_grpo.reward.manager import load_scorer, pick_rule

    if config.reward.reward_manager.name != "VerdictRewardManager":
        return  # the user's own manager: verl loads it, and only it knows its rule
    kwargs = config.reward.reward_kwargs
    try:
        scorer = load_scorer(kwargs.scorer)
        rule = pick_rule(scorer, kwargs.rule)
    except ValueError as problem:
        yield error("TR302", str(problem), "choose a scorer and rule that exist")
        return
    path = files(config, "train_files")[0]
    ground_truth = read_rows(path)[0]["reward_model"]["ground_truth"]
    try:
        solution = scorer.parse_solution(ground_truth)
    except ValueError as problem:
        yield error(
            "TR303", f"{path}: row 0: {kwargs.scorer} cannot read the ground truth: {problem}", "prepare it again"
        )
        return
    right, wrong = (scorer.judge(example, solution, truncated=False) for example in scorer.examples(solution))
    if right.verdict is not Verdict.RIGHT or wrong.verdict is Verdict.RIGHT:
        yield error(
            "TR304", f"{path}: row 0: a right answer is judged {right.verdict}, a wrong one {wrong.verdict}",
            "the scorer does not fit the data: check reward.reward_kwargs.scorer and data.train_files",
        )  # fmt: skip
    elif scorer.score(right, rule) <= scorer.score(wrong, rule):
        yield error(
            "TR305", f"rule {kwargs.rule}: a right answer earns no more than a wrong one", "choose another rule"
        )
