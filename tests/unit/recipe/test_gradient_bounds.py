"""The norm of a token's gradient with respect to the logits: sqrt(N / (N - 1)) (1 - pi) to sqrt(2) (1 - pi).

The bound is what makes |dL/dlog pi| (1 - pi) a token's pull on the update (``recipe/token_ledger.py``). It is
AR-Lopti's (arXiv 2505.12929); here it is proved on numbers, and through the real loss.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import actor
from torch import Tensor

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss
from tr_grpo.recipe.weights import TokenWeight


def distance(logits: Tensor, token: int) -> tuple[float, float]:
    """||onehot - pi|| and 1 - pi of the token; 1 - pi as the sum of the others, which does not cancel."""
    pi = logits.double().softmax(-1)
    rest = torch.cat([pi[:token], pi[token + 1 :]])
    return torch.cat([rest, rest.sum()[None]]).norm().item(), rest.sum().item()


@st.composite
def distributions(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Logits of a vocabulary of 2 to 1000 and a token: smooth, peaked, or with a few extreme entries."""
    size = draw(st.integers(2, 1000))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.randn(size, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.0, 0.1, 1.0, 10.0]))
    for place, value in draw(st.dictionaries(st.integers(0, size - 1), st.floats(-60, 60), max_size=4)).items():
        logits[place] = value
    return logits.clamp(-60, 60), draw(st.integers(0, size - 1))


@given(distributions())
def test_the_distance_to_the_token_lies_between_the_bounds(case: tuple[Tensor, int]) -> None:
    logits, token = case
    size = len(logits)
    norm, rest = distance(logits, token)
    assert math.sqrt(size / (size - 1)) * rest * (1 - 1e-12) <= norm <= math.sqrt(2) * rest * (1 + 1e-12)


@settings(max_examples=60)
@given(
    distributions(),
    st.floats(-0.5, 0.5),
    st.floats(-3, 3).filter(lambda a: abs(a) > 1e-3),
    st.sampled_from(["advantage", "ratio"]),
)
def test_through_the_loss_it_is_w_a_r_times_the_distance(
    case: tuple[Tensor, int], shift: float, a: float, placement: str
) -> None:
    """From logits by log_softmax and gather, as a model's head does, with the clip out of the way."""
    logits, token = case
    logits.requires_grad_()
    log_prob = logits.log_softmax(-1)[token].view(1, 1)
    r = torch.full((1, 1), shift, dtype=torch.float64).exp()
    loss, _ = tr_grpo_loss(
        old_log_prob=log_prob.detach() - shift,
        log_prob=log_prob,
        advantages=torch.full((1, 1), a, dtype=torch.float64),
        response_mask=torch.ones(1, 1, dtype=torch.bool),
        config=actor(TRGRPOLossConfig(placement=placement), low=0.99, high=9.0, dual=10.0),
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    norm, rest = distance(logits.detach(), token)
    factor = abs(TokenWeight()(log_prob.exp()).item() * a * r.item())
    # log_softmax's backward forms 1 - pi by subtraction: exact to a few eps, not relatively.
    slack = 1e-14 * factor
    assert gradient.norm().item() == pytest.approx(factor * norm, rel=1e-9, abs=slack)
    size = len(logits)
    low, high = math.sqrt(size / (size - 1)) * factor * rest, math.sqrt(2) * factor * rest
    assert low * (1 - 1e-9) - slack <= gradient.norm().item() <= high * (1 + 1e-9) + slack


@pytest.mark.parametrize("gap", [-60.0, -3.0, 0.0, 5.0, 60.0])
def test_with_two_tokens_both_bounds_are_the_norm(gap: float) -> None:
    norm, rest = distance(torch.tensor([gap, 0.0]), 0)
    assert norm == pytest.approx(math.sqrt(2) * rest, rel=1e-14)


def test_the_upper_bound_is_met_with_the_rest_on_one_other_token() -> None:
    norm, rest = distance(torch.tensor([1.0, 2.0] + [-800.0] * 98), 0)
    assert norm == pytest.approx(math.sqrt(2) * rest, rel=1e-14)


@pytest.mark.parametrize("size", [2, 3, 100, 1000])
def test_the_lower_bound_is_met_with_the_rest_spread_evenly(size: int) -> None:
    norm, rest = distance(torch.tensor([2.0] + [0.0] * (size - 1)), 0)
    assert norm == pytest.approx(math.sqrt(size / (size - 1)) * rest, rel=1e-14)


def test_neither_constant_could_be_tighter_in_between() -> None:
    """Halfway between the two extremes the norm is off both bounds, so that neither test above is empty."""
    norm, rest = distance(torch.tensor([1.0, 2.0, 1.0, 0.0]), 0)
    assert math.sqrt(4 / 3) * rest * 1.02 < norm < math.sqrt(2) * rest * 0.98
