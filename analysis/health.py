"""What goes wrong in a run, read from its metrics: warnings with a code (each explained in docs/watch.md).

Each rule looks at a window of steps, needs so many before it speaks, and has one threshold, with its reason beside it.
Medians over windows, so that no single step raises an alarm that is not about single steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from tr_grpo.analysis.config_difference import ACTOR, LOSS
from tr_grpo.analysis.run_folder import Run
from tr_grpo.analysis.run_metrics import column

WINDOW = 20
"""Steps that "recent" means."""
LEAST = 10
"""Steps before a rule over a window speaks."""
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in the form of the preflight's (``trainer/preflight/finding.py`` loads torch).

    Attributes:
        code: stable, ``TR8xx``.
        severity: ``error`` where what the run computes is no longer to be trusted, else ``warning``.
        message: one line with the numbers and the steps that they are of.
        fix: one line that says what to change.
    """

    code: str
    severity: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.message} -> {self.fix}"


Rule = Callable[[Run], Iterator[Finding]]


def check(run: Run) -> list[Finding]:
    """What the metrics of ``run`` say is wrong, by code; nothing for a run too short to tell."""
    return [finding for rule in RULES for finding in rule(run)]


def values(run: Run, key: str) -> Values:
    """The finite values of a metric in the order of the steps."""
    found = np.array([value for value in column(run.metrics, key)[1] if isinstance(value, int | float)], dtype=float)
    return found[np.isfinite(found)]


def recent(run: Run, key: str) -> Values | None:
    """The last ``WINDOW`` finite values of a metric; None if there are fewer than ``LEAST``."""
    found = values(run, key)
    return found[-WINDOW:] if len(found) >= LEAST else None


def _last(found: Values) -> str:
    return f"of the last {len(found)} steps"


def no_signal(run: Run) -> Iterator[Finding]:
    """TR801. Half: from there on most of what is generated is thrown away (DAPO, arXiv 2503.14476, section 3.2)."""
    shares = recent(run, "reward/groups_without_signal")
    if shares is not None and np.mean(shares) > 0.5:
        said = f"{np.mean(shares):.0%} of the groups have one reward for all their responses, mean {_last(shares)}"
    elif shares is None:
        # Older runs: a batch whose advantages are all 0 has no other group.
        high, low = recent(run, "critic/advantages/max"), recent(run, "critic/advantages/min")
        if high is None or low is None or len(high) != len(low):
            return
        empty = np.mean((high == 0) & (low == 0))
        if empty <= 0.5:
            return
        said = f"in {empty:.0%} {_last(high)} no response of the whole batch had an advantage"
    else:
        return
    right = recent(run, "reward/acc")
    easy = right is not None and np.mean(right) > 0.5
    which = "most are solved: take harder data" if easy else "most fail: take easier data or a warmer start"
    yield _warning(
        "TR801",
        f"{said}: they teach nothing",
        f"{which}, raise actor_rollout_ref.rollout.n, or set algorithm.filter_groups.enable=true",
    )


def truncated(run: Run) -> Iterator[Finding]:
    """TR802. Half: the reward is then mostly about length.

    Not ``response_length/clip_ratio``: verl 0.9.1 counts there the responses as long as the batch's longest.
    """
    for key in ("reward/overlong", "reward/verdict_truncated"):
        shares = recent(run, key)
        if shares is not None and np.mean(shares) > 0.5:
            yield _warning(
                "TR802",
                f"{np.mean(shares):.0%} of the responses end at the length limit ({key}, mean {_last(shares)})",
                "raise data.max_response_length, or make the prompt ask for shorter answers",
            )
            return


def entropy_collapse(run: Run) -> Iterator[Finding]:
    """TR803. A tenth of the first steps' entropy with a task not solved: no exploration is left to solve it with.

    That policies trade entropy for reward until it is spent: arXiv 2505.22617. A solved task needs none.
    """
    entropy, right = values(run, "actor/entropy"), recent(run, "reward/acc")
    if len(entropy) < 2 * LEAST or (right is not None and np.median(right) > 0.9):
        return
    first, last = np.median(entropy[:5]), np.median(entropy[-LEAST:])
    if last < 0.1 * first:
        yield _warning(
            "TR803",
            f"the entropy fell from {first:.3g} (first 5 steps) to {last:.3g} nats a token (last {LEAST}), and the "
            "task is not solved",
            f"raise {ACTOR}.clip_ratio_high or {ACTOR}.entropy_coeff, or lower {ACTOR}.optim.lr",
        )


def clip_inactive(run: Run) -> Iterator[Finding]:
    """TR804. 50 steps: 20 of a sound run of ours clipped one token in 10,000, so few steps say nothing."""
    clipped = values(run, "actor/pg_clipfrac")
    loss = run.value(f"{LOSS}.base_loss") or run.value(f"{LOSS}.loss_mode")
    # The other losses of verl have no clip, or one made so wide that it is not to act.
    if len(clipped) < 50 or clipped.any() or loss not in ("vanilla", "gspo", "geo_mean") or updates(run) < 2:
        return
    yield _warning(
        "TR804",
        f"no token was clipped in {len(clipped)} steps of {updates(run)} updates: the policy hardly moves in a step",
        f"raise {ACTOR}.optim.lr, or narrow {ACTOR}.clip_ratio_high",
    )


def weight_saturated(run: Run) -> Iterator[Finding]:
    """TR805. Every recent step, by what ``informative`` means (docs/method.md): 1 % of the tokens at each end."""
    informative = recent(run, "actor/tr/informative")
    weighted = run.value(f"{LOSS}.loss_mode") == "tr_grpo" and run.value(f"{LOSS}.shape") != "uniform"
    if informative is None or informative.any() or not weighted:
        return
    ends = {end: recent(run, f"actor/tr/share_at_{end}") for end in ("lower", "upper")}
    shares = ", ".join(f"{np.mean(share):.1%} at its {end} end" for end, share in ends.items() if share is not None)
    yield _warning(
        "TR805",
        f"the weight is nearly the same for all tokens in each {_last(informative)} ({shares}): nothing separates "
        "this run from its base loss but a factor",
        f"move {LOSS}.mu and {LOSS}.tau to where the tokens' probabilities lie (actor/tr_tokens)",
    )


def scoring_errors(run: Run) -> Iterator[Finding]:
    """TR806. Any error; time-outs from 1 % on: a hard answer may cost one now and then."""
    limits = {"reward/unscored_share": 0.0, "reward/verdict_error": 0.0, "reward/verdict_timeout": 0.01}
    found = {key: values(run, key) for key in limits}
    said = [
        f"{key} {np.max(shares):.1%} at most, above {limits[key]:.0%} in {np.sum(shares > limits[key])} steps"
        for key, shares in found.items()
        if len(shares) and np.max(shares) > limits[key]
    ]
    files = sorted(run.folder.glob("scoring_errors-*.jsonl"))
    if files:
        said.append(f"responses in {', '.join(path.name for path in files[:3])}")
    if said:
        yield _warning(
            "TR806", "; ".join(said), "read scoring_errors-*.jsonl; for time-outs see reward.reward_kwargs.pool"
        )


def gradient_spikes(run: Run) -> Iterator[Finding]:
    """TR807. Five times the median of the 20 steps before, and 10 of their deviations: beyond lognormal scatter.

    The deviation is 1.4826 times the median absolute one. And beyond twice the largest of the 20, so that a batch
    with a signal after some without is none.
    """
    steps, norms = column(run.metrics, "actor/update/grad_norm_max")
    if not steps:
        steps, norms = column(run.metrics, "actor/grad_norm")
    spikes = _spikes(steps, np.asarray(norms, dtype=float))
    if spikes:
        step, times = max(spikes, key=lambda spike: spike[1])
        yield _warning(
            "TR807",
            f"the gradient norm jumped in {len(spikes)} of {len(norms)} steps, to {times:.0f} times the median of the "
            f"{WINDOW} before at step {step}",
            f"lower {ACTOR}.optim.lr or {ACTOR}.optim.clip_grad; look at the responses of that step",
        )
    skipped = values(run, "actor/update/skipped")
    if skipped.any():
        yield _error(
            "TR807",
            f"updates with a gradient that is not finite were skipped in {np.count_nonzero(skipped)} steps",
            f"lower {ACTOR}.optim.lr; look for a NaN in the log",
        )


def _spikes(steps: list[int], norms: Values) -> list[tuple[int, float]]:
    """Steps of spikes, each with its norm over the median before."""
    if len(norms) <= WINDOW:
        return []
    before = np.lib.stride_tricks.sliding_window_view(norms[:-1], WINDOW)
    median = np.median(before, axis=1)
    spread = 1.4826 * np.median(np.abs(before - median[:, None]), axis=1)
    limit = np.max([5 * median, median + 10 * spread, 2 * np.max(before, axis=1)], axis=0)
    found = np.flatnonzero((norms[WINDOW:] > limit) & (median > 0))
    return [(steps[WINDOW + i], float(norms[WINDOW + i] / median[i])) for i in found]


def log_probs_drift(run: Run) -> Iterator[Finding]:
    """TR808. Mean |Δπ| of 0.005, from where verl's FAQ advises to look; or ten times the first steps', above 0.001."""
    found = values(run, "training/rollout_probs_diff_mean")
    if len(found) < LEAST:
        return
    first, last = float(np.median(found[:5])), float(np.median(found[-LEAST:]))
    grown = len(found) >= 2 * LEAST and last > max(10 * first, 0.001)
    if last > 0.005 or grown:
        yield _warning(
            "TR808",
            f"rollout and actor differ by {last:.2g} in a token's probability (mean, last {LEAST} steps; {first:.2g} "
            "in the first 5): what is trained is not the policy that answered",
            "correct it with algorithm.rollout_correction.rollout_is=token, or use the same precision in both "
            "(actor_rollout_ref.rollout.dtype)",
        )


def slower(run: Run) -> Iterator[Finding]:
    """TR809. Below 60 % of the first third's median; tokens a second, so longer answers alone do not count."""
    found = values(run, "perf/throughput")
    if len(found) < 3 * LEAST:
        return
    first, last = np.median(found[: len(found) // 3]), np.median(found[-LEAST:])
    if last < 0.6 * first:
        yield _warning(
            "TR809",
            f"{last:.0f} tokens a second and device (median, last {LEAST} steps), {first:.0f} in the first third",
            "compare timing_s/gen and timing_s/update_actor, then memory (a GPU that swaps its cache: "
            "actor_rollout_ref.rollout.gpu_memory_utilization) and other jobs on the machine",
        )


def not_a_number(run: Run) -> Iterator[Finding]:
    """TR810. Any."""
    bad: dict[str, list[int]] = {}
    for step, metrics in run.metrics.items():
        for key, value in metrics.items():
            if isinstance(value, float) and not isfinite(value):
                bad.setdefault(key, []).append(step)
    if bad:
        shown = ", ".join(f"{key} (step {steps[0]})" for key, steps in list(bad.items())[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        make = _error if any(key.startswith("actor/") for key in bad) else _warning
        yield make("TR810", f"not a number: {shown}{more}", f"lower {ACTOR}.optim.lr; look for a NaN in the log")


def kl_runs_away(run: Run) -> Iterator[Finding]:
    """TR811. From the sampling policy 0.1 nats a token, several times PPO's usual early stop; from the reference 1."""
    for key, limit, whom in (("actor/ppo_kl", 0.1, "sampling"), ("actor/kl_loss", 1.0, "reference")):
        found = recent(run, key)
        if found is not None and np.median(np.abs(found)) > limit:
            yield _warning(
                "TR811",
                f"the policy is {np.median(np.abs(found)):.2g} nats a token away from the {whom} policy ({key}, median "
                f"{_last(found)}; limit {limit:g})",
                f"lower {ACTOR}.optim.lr or {ACTOR}.ppo_epochs"
                if whom == "sampling"
                else f"raise {ACTOR}.kl_loss_coef, or lower {ACTOR}.optim.lr",
            )


def reward_falls(run: Run) -> Iterator[Finding]:
    """TR812. More than half of what had been gained is lost, and more than five standard errors of two means.

    The noise of a step is taken from the differences of neighbours, which a slow trend does not enter.
    """
    found = values(run, "critic/score/mean")
    if len(found) < 3 * WINDOW:
        return
    means = np.convolve(found, np.ones(WINDOW) / WINDOW, "valid")
    noise = 1.4826 * np.median(np.abs(np.diff(found))) / np.sqrt(2)
    first, best, last = means[0], np.max(means), means[-1]
    if best - last > max((best - first) / 2, 5 * noise * np.sqrt(2 / WINDOW), 0.02 * abs(best)):
        yield _warning(
            "TR812",
            f"the reward fell from {best:.3g} (best {WINDOW} steps) to {last:.3g} (last {WINDOW}), from {first:.3g} at "
            "the start",
            f"take an earlier checkpoint and lower {ACTOR}.optim.lr; see the other warnings for the cause",
        )


def updates(run: Run) -> int:
    """Updates a step: of the ledger, or of the config's batch keys; 0 where neither tells."""
    ledger = run.starts[-1].ledger if run.starts else {}
    if "updates" in ledger:
        return int(ledger["updates"])
    batch, mini = run.value("data.train_batch_size"), run.value(f"{ACTOR}.ppo_mini_batch_size")
    return int(batch // mini) * int(run.value(f"{ACTOR}.ppo_epochs") or 1) if batch and mini else 0


def _warning(code: str, message: str, fix: str) -> Finding:
    return Finding(code, "warning", message, fix)


def _error(code: str, message: str, fix: str) -> Finding:
    return Finding(code, "error", message, fix)


RULES: tuple[Rule, ...] = (
    no_signal,
    truncated,
    entropy_collapse,
    clip_inactive,
    weight_saturated,
    scoring_errors,
    gradient_spikes,
    log_probs_drift,
    slower,
    not_a_number,
    kl_runs_away,
    reward_falls,
)
