"""Which of verl's policy losses the token weight composes with, and what the product then means.

A weight w > 0 without gradient, multiplied onto the advantage, acts on a loss exactly as a per-token factor of
its gradient where the loss is positively homogeneous in each token's advantage. Most of verl's losses are; the
others are told apart here. ``docs/method.md`` prints this table, ``test_composition.py`` proves it cell by cell.

What stands beside a policy loss stays as it is: the entropy bonus and the KL loss are added by verl and not
weighted (but for ``weighted_kl``), and importance weights (``rollout_is_weights``, decoupled rollout correction)
multiply the weighted loss as they multiply the plain one.

Bypass mode (``algorithm.rollout_correction.bypass_mode``) takes vLLM's log-probabilities for the old policy's:

* verl's V1 trainer does that and nothing else: the loss stays the configured one, its ratio and
  ``probability=old`` are then of vLLM's policy.
* verl's V0 trainer also sets ``loss_mode=bypass_mode``, in the driver's config after its workers were built from
  it: the config then names one loss and the workers train another. With a loss of ours preflight refuses it (TR419).
* ``base_loss=bypass_mode`` is the loss of that name. It computes its own importance weights and rejections, from
  ``policy_loss.rollout_correction``, which neither trainer fills in time for its workers: it has to be set there.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What becomes of a loss when its advantages are weighted."""

    WORKS = "works"
    """Each token's gradient is w times what it was; which tokens are clipped does not depend on w."""
    DIFFERS = "works but means something else"
    REFUSED = "refused"


@dataclass(frozen=True)
class Composition:
    """One row of the table."""

    verdict: Verdict
    why: str
    aggregates: bool = True
    """Whether the loss heeds ``loss_agg_mode``; verl's sapo and geo_mean fix their own."""
    ratio: bool = False
    """Whether ``placement=ratio`` (Eq. 9 as printed) is defined for it."""


WORKS, DIFFERS, REFUSED = Verdict.WORKS, Verdict.DIFFERS, Verdict.REFUSED

LOSSES: dict[str, Composition] = {
    "vanilla": Composition(WORKS, "w min(r A, clip(r) A), dual clip included", ratio=True),
    "cispo": Composition(WORKS, "w sg(clip(r)) A log pi"),
    "gpg": Composition(WORKS, "w A log pi; there is no ratio and no clip"),
    "sapo": Composition(WORKS, "w gate(r) A; the gate depends on A's sign only", aggregates=False),
    "dppo_tv": Composition(WORKS, "w sg(r) A log pi where the divergence allows it, whose mask sees A's sign only"),
    "dppo_kl": Composition(WORKS, "w sg(r) A log pi where the divergence allows it, whose mask sees A's sign only"),
    "bypass_mode": Composition(
        WORKS, "weights what verl dispatches to (ppo_clip or reinforce); its rejections and importance weights see no A"
    ),
    "gspo": Composition(
        DIFFERS,
        "GSPO treats all tokens of a sequence alike, and w no longer does; ratio and clip stay the sequence's, so a "
        "clipped sequence has no gradient whatever its tokens' weights",
    ),
    "geo_mean": Composition(
        DIFFERS,
        "verl averages the advantages over the sequence, so every token gets the sequence's mean weight: "
        "sequences of confident tokens count more, tokens within one are not told apart",
        aggregates=False,
    ),
    "clip_cov": Composition(
        DIFFERS,
        "tokens without gradient are chosen by the covariance of log pi with the weighted advantage, "
        "so w also moves the choice",
    ),
    "kl_cov": Composition(
        DIFFERS,
        "tokens with a KL penalty are chosen by the covariance of log pi with the weighted advantage, "
        "and the penalty itself is not weighted",
    ),
    "dro": Composition(
        DIFFERS,
        "the advantage term is weighted, the quadratic penalty is not: w also moves their balance token by token",
    ),
}
"""Every policy loss that verl 0.9.1 registers. One that is missing here (a later verl's, a user's) is refused."""


def require(base_loss: str, placement: str) -> Composition:
    """The row of ``base_loss``.

    Raises:
        ValueError: the weight does not compose with it, or not at this ``placement``; names both keys.
    """
    row = LOSSES.get(base_loss)
    if row is None:
        raise ValueError(
            f"base_loss={base_loss!r} is not a policy loss of verl that the weight is known to compose with; "
            f"choose one of: {', '.join(sorted(LOSSES))}"
        )
    if row.verdict is Verdict.REFUSED:
        raise ValueError(f"base_loss={base_loss} is refused: {row.why}")
    if placement == "ratio" and not row.ratio:
        able = ", ".join(name for name, other in LOSSES.items() if other.ratio)
        raise ValueError(
            f"placement=ratio and base_loss={base_loss} do not compose: Eq. 9 is the clipped objective of {able}; "
            "use placement=advantage"
        )
    return row
