"""The token view's numbers: each token's share of the gradient, without the weight and with it.

With g the recorded |dL/dlog π| of a token and π the policy's probability of it, its mass is m = g (1 − π)
(``recipe/token_ledger.py``). The recorded gradient includes the weight w, so GRPO's mass is m / w and the method's m.
A run without a weight has w = 1; what TR-GRPO would make of its gradient is then m w(π), with the default weight.
"""

from dataclasses import dataclass

import numpy as np

from tr_grpo.analysis.run_folder import Response, Run

ALPHA, TAU, MU, LOWER, UPPER = 2.0, 9.0, 0.25, 1.0, 1.4
"""The defaults of ``recipe.weights.TokenWeight``, which a test compares: importing it would load torch."""
POLICY_LOSS = "actor_rollout_ref.actor.policy_loss"


@dataclass(frozen=True)
class Shares:
    """Shares of one response's n tokens; NaN where the token does not count or the whole is 0.

    Attributes:
        before: (n,) of the response's mass without the weight (GRPO's); they add up to 1.
        after: (n,) of its mass with the weight (TR-GRPO's); they add up to 1.
        update_before: the response's part of the whole update's mass without the weight, or None.
        update_after: the same with the weight; None for a run without a weight, where it was not measured.
    """

    before: np.ndarray
    after: np.ndarray
    update_before: float | None
    update_after: float | None


def share_names(run: Run) -> tuple[str, str]:
    """Whose shares the two are: the base loss's, and those of the run's weight or of TR-GRPO's default."""
    base = run.value(f"{POLICY_LOSS}.base_loss") or run.value(f"{POLICY_LOSS}.loss_mode") or "vanilla"
    weighted = run.value(f"{POLICY_LOSS}.shape") not in (None, "uniform")
    named = weighted and not run.algo.startswith("tr_grpo")
    return ("GRPO" if base == "vanilla" else str(base)), (run.algo if named else "TR-GRPO")


def default_weight(probability: np.ndarray) -> np.ndarray:
    """TR-GRPO's w(π) with its default values, element by element."""
    return np.clip(ALPHA / (1 + np.exp(-TAU * (probability - MU))), LOWER, UPPER)


def is_unweighted(run: Run, responses: list[Response]) -> bool:
    """Whether the run weighs no token: by its config, and without one by the recorded weights being 1."""
    if run.value(POLICY_LOSS) is not None:
        return run.value(f"{POLICY_LOSS}.shape") in (None, "uniform")
    weights = (w for response in responses for w, on in zip(response.weight, response.mask, strict=True) if on)
    return all(weight == 1 for weight in weights)


def shares(response: Response, unweighted: bool) -> Shares:
    """The shares of a response's tokens.

    Args:
        unweighted: whether the run is one without a weight, so that the default weight makes ``after``.
    """
    mask = np.asarray(response.mask, dtype=bool)
    gradient, weight = (np.asarray(values, dtype=float) for values in (response.gradient, response.weight))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        probability = np.exp(np.asarray(response.log_prob, dtype=float))
        mass = np.where(mask, np.abs(gradient) * np.clip(1 - probability, 0, None), 0.0)
        before = mass if unweighted else np.where(mask, mass / np.where(mask, weight, 1.0), 0.0)
        after = mass * default_weight(np.where(mask, probability, 0.0)) if unweighted else mass
    return Shares(
        before=_normalised(before, mask),
        after=_normalised(after, mask),
        update_before=_part(before, response.update_mass_before),
        update_after=None if unweighted else _part(after, response.update_mass),
    )


def _normalised(mass: np.ndarray, mask: np.ndarray) -> np.ndarray:
    total = mass.sum()
    if not np.isfinite(total) or total <= 0:
        return np.full(len(mass), np.nan)
    return np.where(mask, mass / total, np.nan)


def _part(mass: np.ndarray, whole: float | None) -> float | None:
    total = float(mass.sum())
    if whole is None or not np.isfinite(whole) or whole <= 0 or not np.isfinite(total):
        return None
    return total / whole
