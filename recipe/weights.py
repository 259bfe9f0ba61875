"""Token weights of TR-GRPO (GRPO-SG, arXiv 2511.00066) and of its siblings: pure torch, no trainer imported.

GRPO *minus* the equal treatment of tokens. The norm of a token's gradient with respect to the logits
grows with 1 - pi, so rare tokens dominate the update. TR-GRPO multiplies each token's advantage by

    w(pi) = clip(alpha * sigmoid(tau * (pi - mu)), lower, upper)

with pi the policy's own probability of the token. No gradient flows through w. docs/method.md says why this
is our reading, and what each of the other shapes computes at which pi.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHAPES = ("sigmoid", "shifted", "literal", "linear", "uniform", "reverse")
CLIPPED = ("sigmoid", "shifted", "literal", "reverse")
"""The shapes that are clipped to [lower, upper]; the others have no use for alpha, tau, mu, lower and upper."""


@dataclass(frozen=True)
class TokenWeight:
    """One weight of the family; the five knobs have the values found in a third-party re-implementation.

    ========  ===========================================  =============================================
    shape     w before the clip to [lower, upper]          source
    ========  ===========================================  =============================================
    sigmoid   alpha * sigmoid(tau * (pi - mu))             TR-GRPO, our reading; the default
    shifted   alpha * (sigmoid(tau * pi) - mu)             TR-GRPO, another placing of the bracket
    literal   alpha * (sigmoid(pi / tau) - mu)             TR-GRPO, as the re-implementation prints it
    reverse   alpha * sigmoid(tau * (mu - pi))             the paper's ablation: emphasise rare tokens
    linear    1 - a + a * pi, not clipped                  advantage reweighting, arXiv 2505.12929
    uniform   1                                            the control: plain GRPO, bit for bit
    ========  ===========================================  =============================================

    Attributes:
        shape: one of ``SHAPES``.
        alpha: height before the clip.
        tau: steepness per unit of probability (``literal``: its inverse).
        mu: probability at which the sigmoid is alpha / 2.
        lower: lower clip L.
        upper: upper clip U.
        a: slope of ``linear``.

    Raises:
        ValueError: an unknown shape, a value that is not finite or out of its range, a knob that the shape
            would ignore, or a set for which w is the same for every probability: it would silently train
            plain GRPO (up to a factor).
    """

    shape: str = "sigmoid"
    alpha: float = 2.0
    tau: float = 9.0
    mu: float = 0.25
    lower: float = 1.0
    upper: float = 1.4
    a: float = 0.3

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape={self.shape!r} is not a weight; choose one of: {', '.join(SHAPES)}")
        knobs = {name: value for name, value in vars(self).items() if name != "shape"}
        for name, value in knobs.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name}={value!r} must be a finite number")
        used = {"linear": {"a"}, "uniform": set()}.get(self.shape, knobs.keys() - {"a"})
        for name, value in knobs.items():
            if name not in used and value != getattr(TokenWeight, name):
                raise ValueError(f"{name}={value} has no effect with shape={self.shape}: leave one of the two out")
        if self.shape == "linear" and not 0 < self.a < 1:
            raise ValueError(f"a={self.a} must be between 0 and 1: the weight has to keep the advantage's sign")
        if self.shape in CLIPPED:
            self._check_clipped()

    def _check_clipped(self) -> None:
        for name in ("alpha", "lower"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be positive: the weight has to keep the advantage's sign"
                )
        if self.lower > self.upper:
            raise ValueError(f"lower={self.lower} exceeds upper={self.upper}: exchange them or widen the clip")
        if self.tau < 0 or (self.tau == 0 and self.shape == "literal"):
            raise ValueError(
                f"tau={self.tau} must not be negative (literal: nor 0): it has to keep the weight's direction; "
                "shape=reverse emphasises rare tokens"
            )
        # Every shape is monotone, so w is constant on [0, 1] exactly if it is equal at both ends.
        at_zero, at_one = self.at(0.0), self.at(1.0)
        if at_zero == at_one:
            raise ValueError(
                f"the weight is {at_zero:g} for every probability with shape={self.shape}, alpha={self.alpha}, "
                f"tau={self.tau}, mu={self.mu}, lower={self.lower}, upper={self.upper}: that is plain GRPO up to "
                "a factor; choose values that vary on [0, 1], or algo=grpo"
            )

    def at(self, probability: float) -> float:
        """w at one probability in [0, 1], in Python floats; the formula of the class's table, once more."""

        def sigmoid(x: float) -> float:
            return 0.5 * (1.0 + math.tanh(0.5 * x))  # does not overflow

        raw = {
            "sigmoid": lambda: self.alpha * sigmoid(self.tau * (probability - self.mu)),
            "shifted": lambda: self.alpha * (sigmoid(self.tau * probability) - self.mu),
            "literal": lambda: self.alpha * (sigmoid(probability / self.tau) - self.mu),
            "reverse": lambda: self.alpha * sigmoid(self.tau * (self.mu - probability)),
            "linear": lambda: 1.0 - self.a + self.a * probability,
            "uniform": lambda: 1.0,
        }[self.shape]()
        return min(max(raw, self.lower), self.upper) if self.shape in CLIPPED else raw

    @property
    def lowest(self) -> float:
        """The smallest weight that a probability in [0, 1] can have."""
        return min(self.at(0.0), self.at(1.0))

    @property
    def highest(self) -> float:
        """The largest weight that a probability in [0, 1] can have."""
        return max(self.at(0.0), self.at(1.0))

    def __call__(self, probability: Tensor) -> Tensor:
        """w for each token.

        Args:
            probability: pi of each sampled token, any shape, floating, in [0, 1]; it is not changed.

        Returns:
            Weights in [lowest, highest], same shape and dtype, detached, in memory of their own.
        """
        # The first operation makes a new tensor, the others work in place: a fifth of the cost is allocation.
        pi = probability.detach()
        if self.shape == "uniform":
            return torch.ones_like(pi)
        if self.shape == "linear":
            return (pi * self.a).add_(1.0 - self.a)
        raw: dict[str, Callable[[], Tensor]] = {
            "sigmoid": lambda: (pi - self.mu).mul_(self.tau).sigmoid_().mul_(self.alpha),
            "shifted": lambda: (pi * self.tau).sigmoid_().sub_(self.mu).mul_(self.alpha),
            "literal": lambda: (pi / self.tau).sigmoid_().sub_(self.mu).mul_(self.alpha),
            "reverse": lambda: (self.mu - pi).mul_(self.tau).sigmoid_().mul_(self.alpha),
        }
        return raw[self.shape]().clamp_(self.lower, self.upper)
