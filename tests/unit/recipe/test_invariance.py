"""What must not change the loss and its gradient: micro-batches, padding, the order of rows, masked tokens."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import MODES, actor, batch, value_and_gradient
from torch import Tensor

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig, tr_grpo_loss

ROWS = 6
SCALE = 9
"""``loss_scale_factor``: without it verl's seq-mean-token-sum-norm divides by the width, padding included."""
KNOBS = {
    "default": {},
    "ratio": {"placement": "ratio"},
    "old": {"probability": "old", "lower": 0.3},
}


def whole(knobs: str, tensors: dict[str, Tensor]):
    """The actor as verl sets it up for the whole mini-batch, however it is then cut."""
    tokens = int(tensors["response_mask"].sum())
    return actor(TRGRPOLossConfig(**KNOBS[knobs]), tokens=tokens, rows=ROWS, scale=SCALE)


def taken(tensors: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    return {name: tensor[rows] for name, tensor in tensors.items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("knobs", KNOBS)
def test_it_does_not_matter_how_the_mini_batch_is_cut_and_ordered(mode: str, knobs: str) -> None:
    tensors = batch(rows=ROWS)
    config = whole(knobs, tensors)
    value, gradient = value_and_gradient(tensors, config, loss_agg_mode=mode)
    assert gradient.any()

    @settings(max_examples=8)
    @given(st.permutations(range(ROWS)), st.sets(st.integers(1, ROWS - 1)))
    def cut(order: list[int], cuts: set[int]) -> None:
        edges = [0, *sorted(cuts), ROWS]
        total, collected = torch.zeros((), dtype=torch.float64), torch.zeros_like(gradient)
        for start, end in itertools.pairwise(edges):
            rows = order[start:end]
            part, part_gradient = value_and_gradient(taken(tensors, rows), config, loss_agg_mode=mode)
            total += part
            collected[rows] = part_gradient
        torch.testing.assert_close(total, value)
        torch.testing.assert_close(collected, gradient)

    cut()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("knobs", KNOBS)
@pytest.mark.parametrize("filler", [0.0, -50.0])
def test_padding_does_not_matter(mode: str, knobs: str, filler: float) -> None:
    tensors = batch(rows=ROWS)
    config = whole(knobs, tensors)
    value, gradient = value_and_gradient(tensors, config, loss_agg_mode=mode)
    padded = {
        name: torch.cat([tensor, torch.full((ROWS, 5), filler if tensor.is_floating_point() else 0).to(tensor)], 1)
        for name, tensor in tensors.items()
    }
    padded_value, padded_gradient = value_and_gradient(padded, config, loss_agg_mode=mode)
    torch.testing.assert_close(padded_value, value)
    torch.testing.assert_close(padded_gradient[:, :-5], gradient)
    assert not padded_gradient[:, -5:].any()


def test_without_a_scale_verls_norm_mode_divides_by_the_padded_width() -> None:
    """verl's, unchanged by the weight: why ``loss_scale_factor`` has to be set for that mode."""
    tensors = batch(rows=ROWS, length=9)
    narrow, _ = value_and_gradient(tensors, actor(), loss_agg_mode="seq-mean-token-sum-norm")
    padded = {name: torch.cat([tensor, torch.zeros(ROWS, 9).to(tensor)], 1) for name, tensor in tensors.items()}
    wide, _ = value_and_gradient(padded, actor(), loss_agg_mode="seq-mean-token-sum-norm")
    torch.testing.assert_close(wide, narrow / 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("knobs", KNOBS)
def test_masked_tokens_have_no_gradient_and_no_influence(mode: str, knobs: str) -> None:
    tensors = batch(rows=ROWS)
    config = whole(knobs, tensors)
    value, gradient = value_and_gradient(tensors, config, loss_agg_mode=mode)
    mask = tensors["response_mask"]
    assert not gradient[~mask].any()
    disturbed = {
        name: tensor if name == "response_mask" else torch.where(mask, tensor.detach(), -3.0)
        for name, tensor in tensors.items()
    }
    disturbed_value, disturbed_gradient = value_and_gradient(disturbed, config, loss_agg_mode=mode)
    assert torch.equal(disturbed_value, value)
    assert torch.equal(disturbed_gradient, gradient)
    metrics = [tr_grpo_loss(**case, loss_agg_mode=mode, config=config)[1] for case in (tensors, disturbed)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_of_numbers_counts_like_one_of_truths(mode: str) -> None:
    tensors = batch(rows=ROWS)
    numbers = tensors | {"response_mask": tensors["response_mask"].long()}
    value, gradient = value_and_gradient(tensors, actor(), loss_agg_mode=mode)
    same_value, same_gradient = value_and_gradient(numbers, actor(), loss_agg_mode=mode)
    torch.testing.assert_close(same_value, value)
    torch.testing.assert_close(same_gradient, gradient)
