"""Numbers at the edge: log-probabilities of -200, -inf and NaN, empty rows and batches, bf16."""

import math

import pytest
import torch
from loss_cases import MODES, actor, batch, value_and_gradient

from tr_grpo.recipe.policy_loss import PLACEMENTS, TRGRPOLossConfig, tr_grpo_loss
from tr_grpo.recipe.weights import TokenWeight

SHAPES = ("sigmoid", "shifted", "reverse", "linear", "uniform")


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pi_that_underflows_and_pi_1_have_finite_weights_values_and_gradients(
    placement: str, shape: str, dtype: torch.dtype
) -> None:
    tensors = batch(dtype=dtype)
    for name in ("log_prob", "old_log_prob"):
        extreme = tensors[name].detach().clone()
        extreme[0], extreme[1, :4], extreme[2, :3] = -200.0, 0.0, -1e30
        tensors[name] = extreme
    config = actor(TRGRPOLossConfig(shape=shape, placement=placement))
    for mode in MODES:
        value, gradient = value_and_gradient(tensors, config, loss_agg_mode=mode)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("a", [1.0, -1.0])
def test_a_token_that_the_policy_has_ruled_out_has_a_finite_loss(a: float) -> None:
    """log pi = -inf against a finite old one: verl clamps log r to [-20, 20], which also ends the gradient."""
    tensors = batch()
    log_prob = tensors["log_prob"].detach().clone()
    log_prob[1, 2] = -math.inf
    mask = torch.ones_like(tensors["response_mask"])
    tensors |= {"log_prob": log_prob, "response_mask": mask, "advantages": torch.full_like(log_prob, a)}
    value, gradient = value_and_gradient(tensors, actor())
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient[1, 2] == 0


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_response_has_no_gradient_and_leaves_the_others_theirs(mode: str) -> None:
    tensors = batch()
    tensors["response_mask"][2] = False
    tokens = int(tensors["response_mask"].sum())
    config = actor(tokens=tokens, rows=5, scale=9)
    value, gradient = value_and_gradient(tensors, config, loss_agg_mode=mode)
    rows = [0, 1, 3, 4, 5]
    without = {name: tensor[rows] for name, tensor in tensors.items()}
    expected, expected_gradient = value_and_gradient(without, config, loss_agg_mode=mode)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient[rows], expected_gradient)
    assert not gradient[2].any()


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_micro_batch_of_a_counted_mini_batch_adds_nothing(mode: str) -> None:
    """A rank or micro-batch without a token: loss and gradient 0, because verl counts over the mini-batch."""
    tensors = batch()
    tensors["response_mask"][:] = False
    value, gradient = value_and_gradient(tensors, actor(tokens=40, rows=6, scale=9), loss_agg_mode=mode)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "token-sum"])
def test_an_entirely_empty_batch_is_refused_in_words(mode: str) -> None:
    """Without global counts verl divides 0 by 0 tokens or rows."""
    tensors = batch()
    tensors["response_mask"][:] = False
    with pytest.raises(FloatingPointError, match=r"policy loss is nan although.*an empty batch"):
        tr_grpo_loss(**tensors, loss_agg_mode=mode, config=actor())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_nan_in_a_counted_log_probability_is_named(mode: str, placement: str) -> None:
    tensors = batch()
    tensors["response_mask"][3, 5:7] = True
    log_prob = tensors["log_prob"].detach().clone()
    log_prob[3, 5:7] = math.nan
    config = actor(TRGRPOLossConfig(placement=placement))
    with pytest.raises(
        FloatingPointError,
        match=r"token 5 of response 3 .* is nan \(2 such tokens in all\): the policy's logits are not finite$",
    ):
        tr_grpo_loss(**tensors | {"log_prob": log_prob}, loss_agg_mode=mode, config=config)


@pytest.mark.parametrize("key", ["advantages", "old_log_prob"])
def test_a_nan_elsewhere_is_not_blamed_on_the_log_probabilities(key: str) -> None:
    tensors = batch()
    tensors["response_mask"][3, 5] = True
    tensors[key][3, 5] = math.nan
    with pytest.raises(
        FloatingPointError, match="although every counted log-probability is finite: look at the advantages"
    ):
        tr_grpo_loss(**tensors, config=actor())


@pytest.mark.parametrize("mode", ["token-mean", "token-sum"])
def test_a_nan_in_a_masked_log_probability_changes_nothing(mode: str) -> None:
    """verl's masked sum drops the NaN, and its clamp of log r stops it backwards: it never reaches the model."""
    tensors = batch()
    tensors["response_mask"][3, 5] = False
    value, gradient = value_and_gradient(tensors, actor(), loss_agg_mode=mode)
    log_prob = tensors["log_prob"].detach().clone()
    log_prob[3, 5] = math.nan
    same_value, same_gradient = value_and_gradient(tensors | {"log_prob": log_prob}, actor(), loss_agg_mode=mode)
    assert torch.equal(same_value, value)
    assert torch.equal(same_gradient, gradient)


@pytest.mark.parametrize("mode", ["seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"])
def test_a_nan_in_a_masked_log_probability_stops_the_sequence_modes(mode: str) -> None:
    """There verl multiplies by the mask, and 0 times NaN is NaN. The message does not claim otherwise."""
    tensors = batch()
    tensors["response_mask"][3, 5] = False
    log_prob = tensors["log_prob"].detach().clone()
    log_prob[3, 5] = math.nan
    with pytest.raises(FloatingPointError, match=r"every counted log-probability is finite.*masked tokens"):
        tr_grpo_loss(**tensors | {"log_prob": log_prob}, loss_agg_mode=mode, config=actor())


@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_log_probabilities_move_a_weight_by_no_more_than_their_rounding(shape: str) -> None:
    """bf16 keeps 8 bits: log pi is off by at most 2^-8 |log pi|, so pi by a factor exp of that, so w by
    max |dw/dpi| times it. The weight itself is computed in float32: it adds no rounding worth a mention."""
    log_prob = torch.linspace(-8, 0, 4001, dtype=torch.float64)
    weight = TokenWeight(shape)
    slope = {"linear": 0.3, "uniform": 0.0}.get(shape, 2.0 * 9.0 / 4)  # alpha tau / 4, a sigmoid's steepest
    exact = weight(log_prob.exp())
    rounded = weight(log_prob.bfloat16().float().exp()).double()
    allowed = slope * log_prob.exp() * (torch.exp(2.0**-8 * log_prob.abs()) - 1) * 1.01 + 1e-6
    assert ((rounded - exact).abs() <= allowed).all()
    # At worst, at pi = 1 / e, that is 4.5 * 2^-8 / e.
    assert (rounded - exact).abs().max() < 4.5 * 2**-8 / math.e + 1e-5


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_loss_of_bf16_log_probabilities_is_close_to_that_of_float32(placement: str) -> None:
    """Off the clip a token's term is w r A: r = exp of a difference of two log-probabilities of at most 4.2, off by
    2^-8 times the two; five rounded operands and products, 2^-8 each; and the weight's 4.5 * 2^-8 / e."""
    tensors = batch(rows=40, length=30, dtype=torch.float32)
    tensors["old_log_prob"] = tensors["old_log_prob"].clamp(min=-4)
    shift = (0.05 * torch.randn(40, 30, generator=torch.Generator().manual_seed(1))).clamp(-0.2, 0.2)
    tensors["log_prob"] = (tensors["old_log_prob"] + shift).clamp(max=0)
    config = actor(TRGRPOLossConfig(placement=placement), low=0.9, high=9.0, dual=20.0)
    _, exact = value_and_gradient(tensors, config)
    half = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    _, rounded = value_and_gradient(half, config)
    allowed = exact.abs() * (2 * 4.2 + 5 + 4.5 / math.e) * 2.0**-8
    assert ((rounded.float() - exact).abs() <= allowed).all()
    assert exact.any()
