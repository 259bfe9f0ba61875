"""Which tokens drive an update: sums over micro-batches and ranks, then shares of the whole.

The gradient of the loss with respect to the logits of one token is g (pi - onehot), where g = dL/dlog pi; its
norm lies between sqrt(N / (N - 1)) and sqrt(2) times |g| (1 - pi) for a vocabulary of N. So

    mass = |dL/dlog pi| * (1 - pi)

is a token's pull on the update, up to a factor between 1 and 1.42. |dL/dlog pi| is |w A r active| over the
loss's denominator for PPO-like losses, but it is taken from autograd, so it is exact for every loss: a clipped
token has none. Bounds: AR-Lopti (arXiv 2505.12929) and the reviews of arXiv 2511.00066; tested in
``tests/unit/recipe/test_gradient_bounds.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EDGES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75)
BUCKETS = ("0-0.001", "0.001-0.01", "0.01-0.05", "0.05-0.1", "0.1-0.25", "0.25-0.5", "0.5-0.75", "0.75-1")
"""Buckets of probability, lower edge included: the paper's quartiles, with the first one cut finer."""
QUARTILES = {"0_25": slice(0, 5), "25_50": slice(5, 6), "50_75": slice(6, 7), "75_100": slice(7, 8)}
POPULATED = 0.01
"""A share of tokens from which an end of the weight's range counts as populated."""
END = 0.1
"""The part of the weight's range, at either side, that is an end of it."""
ROUNDING = 1e-6
"""Relative: a clipped weight over a mean is not the clip over the mean to the last bit of float32."""


@dataclass(frozen=True)
class WeightRange:
    """What the ledger needs to know of a weight: its clips, and the values it can take."""

    lower: float = 1.0
    upper: float = 1.0
    lowest: float = 1.0
    highest: float = 1.0


class TokenLedger:
    """Running sums of one update on one device; no transfer to the host until :meth:`totals`.

    The table has a column for each probability bucket and sign of the advantage, and a row for each of ``ROWS``:
    the number of tokens, the sum of weights, the sums of the mass after and before weighting. Beside it are the
    counts of tokens at each end of the weight and without gradient, and the sums of squares.
    """

    ROWS = ("tokens", "weight", "mass", "mass_before")
    EXTRAS = (
        *("at_lower", "at_upper", "low_end", "high_end", "without_gradient", "with_advantage"),
        *("mass_squared", "mass_before_squared"),
    )

    def __init__(self, weight_range: WeightRange, device: torch.device | str = "cpu") -> None:
        self.range = weight_range
        # float64: counts and sums of squares over millions of tokens; MPS alone has none, and verl does not run there.
        self._table = torch.zeros(len(self.ROWS), 2 * len(BUCKETS), dtype=torch.float64, device=device)
        self._extras = torch.zeros(len(self.EXTRAS), dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(
        self, probability: Tensor, weight: Tensor | None, advantages: Tensor, mask: Tensor, gradient: Tensor
    ) -> None:
        """Add one micro-batch.

        Args:
            probability: pi of each sampled token under the current policy, (batch, response_length).
            weight: w of each token, same shape; None where the loss has none.
            advantages: A of each token before weighting, same shape.
            mask: true where the token counts, same shape.
            gradient: dL/dlog pi of each token, same shape, weighting included.
        """
        # One search for the counted tokens and four gathers: five times as fast on a CPU as four boolean indices.
        keep = mask.bool().flatten().nonzero()[:, 0]

        def counted(values: Tensor) -> Tensor:
            return values.reshape(-1).index_select(0, keep)

        pi, g, advantage = counted(probability).float(), counted(gradient).float(), counted(advantages)
        w = torch.ones_like(pi) if weight is None else counted(weight).float()
        # Comparisons added up beat torch.bucketize five times over on a CPU: there are only seven edges.
        place = (advantage > 0).to(torch.uint8)
        for edge in EDGES:
            place += (pi >= edge).to(torch.uint8) * 2
        mass = g.abs_() * (1.0 - pi)
        before = mass if weight is None else mass / w
        rows = torch.stack([torch.ones_like(w), w, mass, before]).double()
        self._table.index_add_(1, place.long(), rows)
        span = END * (self.range.highest - self.range.lowest)
        # A weight that is constant is at its lower clip and its lower end, not at both.
        at_lower, low_end = w <= self.range.lower * (1 + ROUNDING), w <= self.range.lowest + span
        flags = (
            at_lower,
            (w >= self.range.upper * (1 - ROUNDING)) & ~at_lower,
            low_end,
            (w >= self.range.highest - span) & ~low_end,
            (mass == 0) & (advantage != 0) & (pi < 1),
            advantage != 0,
        )
        squares = (torch.dot(rows[2], rows[2]), torch.dot(rows[3], rows[3]))
        self._extras += torch.stack([*(flag.count_nonzero() for flag in flags), *squares])

    def totals(self) -> Tensor:
        """All sums in one vector, to be added up over ranks; :func:`describe` reads it."""
        return torch.cat([self._table.flatten(), self._extras])


def masses(totals: Sequence[float]) -> tuple[float, float]:
    """The mass of all tokens of an update, after and before weighting, from :meth:`TokenLedger.totals`."""
    columns = 2 * len(BUCKETS)
    after, before = TokenLedger.ROWS.index("mass") * columns, TokenLedger.ROWS.index("mass_before") * columns
    return sum(totals[after : after + columns]), sum(totals[before : before + columns])


def describe(totals: Sequence[float]) -> dict[str, float]:
    """Metrics of one update from the sums of all its micro-batches and ranks.

    Args:
        totals: :meth:`TokenLedger.totals`, added up over all of them.

    Returns:
        Shares and means, under keys that docs/method.md explains one by one. What is undefined is left out (the
        mean weight of an empty bucket, shares of a gradient that is 0): verl averages a key over a step's
        updates, and a 0 in its place would count. All ranks see the same totals, so they leave out the same keys.
        No key contains "min", "max" or "sum", which verl reduces differently.
    """
    size = len(TokenLedger.ROWS) * 2 * len(BUCKETS)
    table = torch.tensor(list(totals[:size]), dtype=torch.float64).view(len(TokenLedger.ROWS), len(BUCKETS), 2)
    tokens, weights, mass, before = table
    extras = dict(zip(TokenLedger.EXTRAS, totals[size:], strict=True))
    count, advantages = tokens.sum(), extras["with_advantage"]
    if not count:
        return {}
    at_lower, at_upper = extras["at_lower"] / count, extras["at_upper"] / count
    populated = min(extras["low_end"], extras["high_end"]) >= POPULATED * count
    found: dict[str, Tensor | float] = {
        "tr/weight_mean": weights.sum() / count,
        "tr/share_at_lower": at_lower,
        "tr/share_in_ramp": 1 - at_lower - at_upper,
        "tr/share_at_upper": at_upper,
        "tr/informative": float(populated),
    }
    if advantages:
        found["tr/share_without_gradient"] = extras["without_gradient"] / advantages
    for name, part in QUARTILES.items():
        found[f"tr/share_p_{name}"] = tokens[part].sum() / count
    for name, in_bucket, weight in zip(BUCKETS, tokens.sum(1), weights.sum(1), strict=True):
        found[f"tr_tokens/{name}"] = in_bucket / count
        if in_bucket:
            found[f"tr_weight/{name}"] = weight / in_bucket
    if mass.sum():
        found["tr/effective_tokens"] = mass.sum() ** 2 / extras["mass_squared"]
        found["tr/effective_tokens_before"] = before.sum() ** 2 / extras["mass_before_squared"]
        share, share_before = mass / mass.sum(), before / before.sum()
        for name, part in QUARTILES.items():
            found[f"tr/mass_p_{name}"] = share[part].sum()
            found[f"tr/mass_before_p_{name}"] = share_before[part].sum()
        for name, (negative, positive), unweighted in zip(BUCKETS, share, share_before, strict=True):
            found[f"tr_mass/{name}"] = negative + positive
            found[f"tr_mass_before/{name}"] = unweighted.sum()
            found[f"tr_mass_negative/{name}"] = negative
            found[f"tr_mass_positive/{name}"] = positive
    return {f"actor/{key}": float(value) for key, value in found.items()}
