"""Gradient norm by update, not by step: its tail and its variation, the "smoother trajectory" as numbers."""

import math
import statistics
from collections import deque

WINDOW = 100
"""Updates that the percentile and the variation look back over."""
MAX_SKIPPED = 10
"""Updates in a row without a finite gradient, before the run ends: a spike passes, weights that are NaN do not."""


class GradientNorms:
    """The last ``WINDOW`` finite gradient norms. A resumed run starts with an empty window."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._skipped_in_a_row = 0

    def add(self, norm: float) -> dict[str, float]:
        """Take one update's norm, before clipping.

        Returns:
            The same keys each time. verl averages a key over a step's updates, except that it takes the largest
            where the key contains "max". An update whose norm is not finite counts as skipped (verl does not
            apply it) and leaves the window as it was.

        Raises:
            FloatingPointError: the last ``MAX_SKIPPED`` updates were all skipped: nothing is learned any more.
        """
        skipped = not math.isfinite(norm)
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if self._skipped_in_a_row >= MAX_SKIPPED:
            raise FloatingPointError(
                f"the gradient norm was {norm} in {MAX_SKIPPED} updates in a row, so none of them was applied; lower "
                "actor_rollout_ref.actor.optim.lr, and resume from a checkpoint before the first of them "
                "(actor/update/skipped)"
            )
        if not skipped:
            self._recent.append(norm)
        recent = sorted(self._recent) or [0.0]
        mean = statistics.fmean(recent)
        return {
            "actor/update/grad_norm_max": 0.0 if skipped else norm,
            "actor/update/grad_norm_p95": recent[math.ceil(0.95 * len(recent)) - 1],
            "actor/update/grad_norm_variation": statistics.pstdev(recent) / mean if mean else 0.0,
            "actor/update/skipped": float(skipped),
        }
