"""Token weights of TR-GRPO (GRPO-SG, arXiv 2511.00066): pure torch, no trainer imported.

GRPO *minus* the equal treatment of tokens. The norm of a token's gradient with respect to the logits
grows with 1 - pi, so rare tokens dominate the update. TR-GRPO multiplies each token's advantage by

    w(pi) = clip(alpha * sigmoid(tau * (pi - mu)), lower, upper)

with pi the policy's own probability of the token. No gradient flows through w.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SigmoidWeight:
    """The five knobs of w(pi), with the values found in a third-party re-implementation.

    Attributes:
        alpha: height of the sigmoid before the clip.
        tau: steepness per unit of probability.
        mu: probability at which w = alpha / 2.
        lower: lower clip L.
        upper: upper clip U.

    Raises:
        ValueError: a value that is not finite, alpha or lower not positive, lower > upper, or a set for
            which w is the same for every probability: it would silently train plain GRPO (up to a factor).
    """

    alpha: float = 2.0
    tau: float = 9.0
    mu: float = 0.25
    lower: float = 1.0
    upper: float = 1.4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name}={value!r} must be a finite number")
        if self.alpha <= 0:
            raise ValueError(f"alpha={self.alpha} must be positive: the weight has to keep the advantage's sign")
        if self.lower <= 0:
            raise ValueError(f"lower={self.lower} must be positive: the weight has to keep the advantage's sign")
        if self.lower > self.upper:
            raise ValueError(f"lower={self.lower} exceeds upper={self.upper}: exchange them or widen the clip")
        if self.tau < 0:
            raise ValueError(f"tau={self.tau} must not be negative: the weight has to grow with the probability")
        # The sigmoid is monotone, so w is constant on [0, 1] exactly if it is equal at both ends.
        at_zero, at_one = self.at(0.0), self.at(1.0)
        if at_zero == at_one:
            raise ValueError(
                f"the weight is {at_zero:g} for every probability with alpha={self.alpha}, tau={self.tau}, "
                f"mu={self.mu}, lower={self.lower}, upper={self.upper}: that is plain GRPO up to a factor; "
                "choose values that vary on [0, 1], or algo=grpo"
            )

    def at(self, probability: float) -> float:
        """w at one probability in [0, 1], in Python floats."""
        raw = self.alpha / (1.0 + math.exp(-self.tau * (probability - self.mu)))
        return min(max(raw, self.lower), self.upper)

    def __call__(self, probability: Tensor) -> Tensor:
        """w for each token.

        Args:
            probability: pi of each sampled token, any shape, in [0, 1].

        Returns:
            Weights in [lower, upper], same shape, detached.
        """
        raw = self.alpha * torch.sigmoid(self.tau * (probability.detach() - self.mu))
        return raw.clamp(self.lower, self.upper)


SHARES = ("at_lower", "in_ramp", "at_upper", "p_0_25", "p_25_50", "p_50_75", "p_75_100")


@torch.no_grad()
def weight_metrics(probability: Tensor, weight: Tensor, mask: Tensor, shape: SigmoidWeight) -> dict[str, float]:
    """What the weight does to one micro-batch, under keys that never change.

    verl averages a key over the micro-batches of a step without weighing them by their tokens. The shares
    (``actor/tr/…``) are therefore means of micro-batch means, like verl's own ``pg_clipfrac``. The counts
    (``actor/tr_tokens/…``) divide exactly: ``weighted / all`` is the token mean of the weight over the step,
    whatever the split. No key contains "min", "max" or "sum", which verl would reduce differently.

    Args:
        probability: pi of each token, (batch, response_length).
        weight: w of each token, same shape.
        mask: true where the token counts, same shape.
        shape: the weight's clip bounds.

    Returns:
        The same seventeen keys for every batch; all shares are 0 where no token counts.
    """
    keep = mask.bool()
    pi, w = probability[keep].float(), weight[keep].float()
    at_lower, at_upper = w <= shape.lower, w >= shape.upper
    columns = {
        "all": torch.ones_like(w),
        "weighted": w,
        "at_lower": at_lower,
        "in_ramp": ~(at_lower | at_upper),
        "at_upper": at_upper,
        "p_0_25": pi < 0.25,
        "p_25_50": (pi >= 0.25) & (pi < 0.5),
        "p_50_75": (pi >= 0.5) & (pi < 0.75),
        "p_75_100": pi >= 0.75,
    }
    # One transfer from the device for all counts.
    counts = dict(zip(columns, torch.stack([c.double().sum() for c in columns.values()]).tolist(), strict=True))
    total = counts["all"] or 1.0
    metrics = {f"actor/tr_tokens/{name}": value for name, value in counts.items()}
    metrics["actor/tr/weight_mean"] = counts["weighted"] / total
    for name in SHARES:
        metrics[f"actor/tr/share_{name}"] = counts[name] / total
    return metrics
