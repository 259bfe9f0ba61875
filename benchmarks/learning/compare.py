"""Every method against GRPO, paired by seed: at each learning rate, and at each method's best."""

from collections.abc import Iterator

import pandas as pd

from benchmarks.learning.settings import LEARNING_RATES, METHODS
from tr_grpo.analysis.paired import compare

BASELINE, PRIMARY = "grpo", "accuracy"
BEST = "best"
"""In place of a learning rate: the best of the method, chosen for each seed on the other seeds."""


def comparisons(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an outcome, learning rate (or ``BEST``) and method: its mean, and the difference to GRPO.

    ``same_lr`` counts the pairs that ran at the same learning rate, which with ``BEST`` need not be all.
    """
    return pd.DataFrame(_rows(runs))


def at_best(runs: pd.DataFrame, method: str) -> pd.DataFrame:
    """The method's run of each seed at the learning rate with the best mean ``PRIMARY`` over the *other* seeds."""
    own = runs[runs.method == method]
    chosen = []
    for seed in sorted(own.seed.unique()):
        others = own[own.seed != seed].groupby("lr")[PRIMARY].mean()
        chosen.append(own[(own.seed == seed) & (own.lr == others.idxmax())])
    return pd.concat(chosen)


def _rows(runs: pd.DataFrame) -> Iterator[dict[str, object]]:
    outcomes = [column for column in runs.columns if column not in ("method", "lr", "seed", "seconds")]
    for lr in (*LEARNING_RATES, BEST):
        chosen = {name: at_best(runs, name) if lr == BEST else _at(runs, name, float(lr)) for name in METHODS}
        base = chosen[BASELINE]
        for name, own in chosen.items():
            same = int((own.lr.to_numpy() == base.lr.to_numpy()).sum())
            for outcome in outcomes:
                values, reference = own[outcome].tolist(), base[outcome].tolist()
                row = {"outcome": outcome, "lr": lr, "method": name, "mean": own[outcome].mean()}
                row |= {"sd": own[outcome].std(), "seeds": len(own)}
                if name != BASELINE:
                    found = compare(values, reference)
                    row |= {"difference": found.mean, "low": found.low, "high": found.high, "p": found.p}
                    row |= {"same_lr": same}
                yield row


def _at(runs: pd.DataFrame, method: str, lr: float) -> pd.DataFrame:
    return runs[(runs.method == method) & (runs.lr == lr)].sort_values("seed")
