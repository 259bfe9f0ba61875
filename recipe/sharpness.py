"""How sharp the loss is around the weights: a step along the gradient (SAM), and the Hessian's largest eigenvalue.

Both see the model only through a list of parameters and a closure, so they run alike on one process and on
FSDP2's shards: ``dot`` adds a scalar product up over the ranks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Dot = Callable[[Sequence[Tensor], Sequence[Tensor]], float]


def local_dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Scalar product of two lists of tensors on one process."""
    return sum((a.double() * b.double()).sum().item() for a, b in zip(left, right, strict=True))


@dataclass(frozen=True)
class Ascent:
    """The loss before and after a step of length rho along the gradient.

    Attributes:
        at: L(theta).
        after: L(theta + rho g / |g|).
        slope: |g|, so that rho * slope is what a linear loss would have risen by.
    """

    at: float
    after: float
    slope: float

    @property
    def rise(self) -> float:
        """max over the ball, to first order, minus the centre: SAM's sharpness (arXiv 2010.01412)."""
        return self.after - self.at


@torch.no_grad()
def ascent(parameters: Sequence[Tensor], loss: Callable[[], float], rho: float, dot: Dot = local_dot) -> Ascent | None:
    """Step along the gradient that the parameters hold, measure the loss, and go back to the same bits.

    Args:
        parameters: leaves with ``.grad``; a leaf without one is not moved.
        loss: the loss at the parameters' present values; must not touch gradients.
        rho: length of the step, in units of the parameters.
        dot: scalar product over all shards.

    Returns:
        None where the gradient is 0 or not finite: there is no direction.
    """
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in moved]
    slope = dot(gradients, gradients) ** 0.5
    if not 0 < slope < float("inf"):
        return None
    at = loss()
    kept = [parameter.clone() for parameter in moved]
    for parameter, gradient in zip(moved, gradients, strict=True):
        parameter.add_(gradient, alpha=rho / slope)
    try:
        after = loss()
    finally:
        for parameter, value in zip(moved, kept, strict=True):
            parameter.copy_(value)
    return Ascent(at, after, slope)


@torch.no_grad()
def top_eigenvalue(
    parameters: Sequence[Tensor],
    gradient: Callable[[], list[Tensor]],
    start: Sequence[Tensor],
    iterations: int,
    step: float,
    dot: Dot = local_dot,
) -> float:
    """The Hessian's eigenvalue of largest magnitude, by power iteration on central differences of the gradient.

    Differences need no second derivative of the model's kernels, and work on shards as they are.

    Args:
        parameters: the leaves; back at the same bits afterwards.
        gradient: the loss's gradient at their present values, one tensor a parameter.
        start: the first direction, one tensor a parameter; not 0.
        iterations: power iterations, two gradients each.
        step: half the distance of the two gradients, in units of the parameters.
        dot: scalar product over all shards.

    Returns:
        The Rayleigh quotient of the last direction that is not 0; nan if there is none.
    """
    kept = [parameter.clone() for parameter in parameters]
    direction, quotient = list(start), float("nan")
    try:
        for _ in range(iterations):
            norm = dot(direction, direction) ** 0.5
            if norm == 0:
                break
            direction = [part / norm for part in direction]
            ends = []
            for sign in (step, -step):
                for parameter, value, part in zip(parameters, kept, direction, strict=True):
                    parameter.copy_(value + sign * part)
                ends.append(gradient())
            product = [(up - down) / (2 * step) for up, down in zip(*ends, strict=True)]
            quotient = dot(direction, product)
            direction = product
    finally:
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return quotient
