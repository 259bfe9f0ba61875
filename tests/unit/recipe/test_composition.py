"""The table of ``recipe/composition.py``, cell by cell, against the gradients of verl's own losses in float64.

Proves what the weight does to each loss of the pinned verl, in every aggregation, with and without importance
weights, and that the entropy bonus and the KL loss beside it stay as they are. It says nothing about whether a
product trains well.
"""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.config.algorithm import RolloutCorrectionConfig
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, get_policy_loss_fn
from verl.utils import tensordict_utils
from verl.workers.config import FSDPActorConfig, PolicyLossConfig
from verl.workers.utils.losses import ppo_loss

from tr_grpo.recipe.composition import LOSSES, Verdict, require
from tr_grpo.recipe.policy_loss import LOSS_NAME, TRGRPOLossConfig

AGGREGATIONS = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean")
LOW, HIGH, DUAL = 0.2, 0.28, 1.8
WEIGHT = {"lower": 0.4, "upper": 1.7, "mu": 0.45, "tau": 6.0}
KNOBS = {"dro_beta": 0.3, "clip_cov_ratio": 0.15, "clip_cov_lb": 0.05, "clip_cov_ub": 9.0, "kl_cov_ratio": 0.15}
PER_TOKEN = [name for name, row in LOSSES.items() if row.verdict is Verdict.WORKS and name != "bypass_mode"]
DIFFERENT = {"gspo", "geo_mean", "clip_cov", "kl_cov", "dro"}

Batch = dict[str, Any]


def batch(seed: int = 5, rows: int = 8, length: int = 12) -> Batch:
    """Responses of both signs, masked tokens, and ratios on both sides of every clip."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    old = (0.02 + 0.9 * uniform(rows, length)).log()
    log_prob = (old + 0.5 * torch.randn(rows, length, generator=generator, dtype=torch.float64)).clamp(max=-0.01)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(rows // 2)[:, None]
    return {
        "old_log_prob": old,
        "log_prob": log_prob.requires_grad_(),
        "advantages": (signs * (0.3 + uniform(rows, 1))).expand(rows, length).clone(),
        "response_mask": uniform(rows, length) < 0.8,
        "rollout_is_weights": None,
    }


def importance(tensors: Batch) -> Batch:
    generator = torch.Generator().manual_seed(11)
    shape = tensors["advantages"].shape
    return tensors | {"rollout_is_weights": 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)}


def actor(policy_loss: PolicyLossConfig, tensors: Batch, **keys: Any) -> FSDPActorConfig:
    defaults = {"clip_ratio_low": LOW, "clip_ratio_high": HIGH, "clip_ratio_c": DUAL, "tau_neg": 1.3}
    config = FSDPActorConfig(
        strategy="fsdp2", rollout_n=4, ppo_micro_batch_size_per_gpu=4, policy_loss=policy_loss, **(defaults | keys)
    )
    config.global_batch_info.update(
        dp_size=2, batch_num_tokens=int(tensors["response_mask"].sum()), global_batch_size=16, loss_scale_factor=7
    )
    return config


def gradient(policy_loss: PolicyLossConfig, tensors: Batch, mode: str = "token-mean", **keys: Any) -> Tensor:
    """dL/dlog pi of each token; the same random choices in every call."""
    torch.manual_seed(0)
    loss_fn = get_policy_loss_fn(policy_loss.loss_mode)
    value, _ = loss_fn(**tensors, loss_agg_mode=mode, config=actor(policy_loss, tensors, **keys))
    return torch.autograd.grad(value, tensors["log_prob"])[0]


def plain(name: str, **keys: Any) -> PolicyLossConfig:
    return PolicyLossConfig(loss_mode=name, **(KNOBS | keys))


def weighted(name: str, **keys: Any) -> TRGRPOLossConfig:
    return TRGRPOLossConfig(base_loss=name, **(KNOBS | WEIGHT | keys))


def weights(tensors: Batch, of: str = "log_prob") -> Tensor:
    """The closed form of the weight, written out once more."""
    pi = tensors[of].detach().exp()
    return (2.0 / (1.0 + (-6.0 * (pi - 0.45)).exp())).clamp(0.4, 1.7)


def test_the_table_covers_exactly_verls_losses() -> None:
    assert set(LOSSES) == set(POLICY_LOSS_REGISTRY) - {LOSS_NAME}


def test_every_row_of_the_table_is_proven_here() -> None:
    assert {name for name, row in LOSSES.items() if row.verdict is Verdict.DIFFERS} == DIFFERENT
    assert {*PER_TOKEN, *DIFFERENT, "bypass_mode"} == set(LOSSES)


def test_the_batch_reaches_every_branch() -> None:
    """Without these the proofs below would be empty."""
    tensors = batch()
    _, metrics = get_policy_loss_fn("vanilla")(**tensors, config=actor(plain("vanilla"), tensors))
    assert metrics["actor/pg_clipfrac"] > 0.1
    assert metrics["actor/pg_clipfrac_lower"] > 0.05  # the dual clip
    w = weights(tensors)
    assert (w == 0.4).any()
    assert (w == 1.7).any()
    assert ((w > 0.4) & (w < 1.7)).sum() > 20
    assert not tensors["response_mask"].all()


@pytest.mark.parametrize("with_importance", [False, True])
@pytest.mark.parametrize("mode", AGGREGATIONS)
@pytest.mark.parametrize("name", PER_TOKEN)
def test_works_means_w_times_the_gradient_token_by_token(name: str, mode: str, with_importance: bool) -> None:
    tensors = importance(batch()) if with_importance else batch()
    before = gradient(plain(name), tensors, mode)
    after = gradient(weighted(name), tensors, mode)
    torch.testing.assert_close(after, weights(tensors) * before, rtol=1e-12, atol=1e-15)
    for sign in (-1, 1):
        assert before[tensors["advantages"] * sign > 0].count_nonzero() > 5
    if with_importance:
        torch.testing.assert_close(before, tensors["rollout_is_weights"] * gradient(plain(name), batch(), mode))


@pytest.mark.parametrize("name", ["vanilla", "cispo", "gspo"])
def test_the_old_policys_probability_is_the_other_choice(name: str) -> None:
    tensors = batch()
    ratio = gradient(weighted(name, probability="old"), tensors) / gradient(plain(name), tensors)
    known = ~ratio.isnan()
    torch.testing.assert_close(ratio[known], weights(tensors, of="old_log_prob")[known])
    assert not torch.allclose(weights(tensors)[known], weights(tensors, of="old_log_prob")[known])


def test_tokens_masked_by_dppo_stay_masked() -> None:
    tensors = batch()
    for name in ("dppo_tv", "dppo_kl"):
        bound = {"clip_ratio_low": 0.05, "clip_ratio_high": 0.05}
        before, after = (gradient(make(name), tensors, **bound) for make in (plain, weighted))
        assert torch.equal(before == 0, after == 0)
        assert 10 < (before[tensors["response_mask"]] == 0).sum() < tensors["response_mask"].sum() - 10


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"bypass_mode"}))
def test_loss_agg_mode_is_heeded_or_not_as_the_table_says(name: str) -> None:
    tensors = batch()
    gradients = [gradient(weighted(name), tensors, mode) for mode in AGGREGATIONS]
    same = [torch.equal(gradients[0], other) for other in gradients[1:]]
    assert same == [not LOSSES[name].aggregates] * 4


@pytest.mark.parametrize("mode", AGGREGATIONS)
def test_gspo_clips_by_the_sequence_whatever_the_weights_and_inside_w_is_a_factor(mode: str) -> None:
    tensors, clip = batch(), {"clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}
    before, after = (gradient(make("gspo"), tensors, mode, **clip) for make in (plain, weighted))
    clipped = (before == 0).all(dim=1)
    assert 0 < clipped.sum() < len(clipped)
    assert not after[clipped].any()
    torch.testing.assert_close(after, weights(tensors) * before)
    # What makes it differ: in GSPO all tokens of a sequence have one and the same gradient, and then no longer.
    for row, mine, mask in zip(before[~clipped], after[~clipped], tensors["response_mask"][~clipped], strict=True):
        torch.testing.assert_close(row[mask], row[mask][:1].expand(int(mask.sum())))
        assert mine[mask].std() > 0.1 * mine[mask].mean().abs()


@pytest.mark.parametrize("with_importance", [False, True])
def test_geo_mean_gives_every_token_its_sequences_mean_weight(with_importance: bool) -> None:
    tensors = importance(batch()) if with_importance else batch()
    before, after = gradient(plain("geo_mean"), tensors), gradient(weighted("geo_mean"), tensors)
    mask = tensors["response_mask"]
    mean = (weights(tensors) * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(after, mean * before, rtol=1e-6, atol=0)  # verl adds 1e-8 to the count
    assert before.count_nonzero() > 20


def covariance(tensors: Batch, advantages: Tensor) -> Tensor:
    mask = tensors["response_mask"]
    log_prob = tensors["log_prob"].detach()
    return (advantages - advantages[mask].mean()) * (log_prob - log_prob[mask].mean())


def test_clip_cov_moves_the_choice_of_tokens_and_weighs_the_others() -> None:
    """With a share of 1 every token within the bounds is chosen, so that chance has no part."""
    tensors, w = batch(), weights(batch())
    bounds = {"clip_cov_ratio": 1.0, "clip_cov_lb": 0.4, "clip_cov_ub": 9.0}
    wide = {"clip_ratio_low": 1.0, "clip_ratio_high": 50.0}
    before = gradient(plain("clip_cov", **bounds), tensors, **wide)
    after = gradient(weighted("clip_cov", **bounds), tensors, **wide)
    mask, advantages = tensors["response_mask"], tensors["advantages"]
    chosen_before = (covariance(tensors, advantages) > 0.4) & mask
    chosen_after = (covariance(tensors, w * advantages) > 0.4) & mask
    assert torch.equal((before == 0) & mask, chosen_before)
    assert torch.equal((after == 0) & mask, chosen_after)
    assert (chosen_after & ~chosen_before).any()
    assert (chosen_before & ~chosen_after).any()
    neither = ~chosen_before & ~chosen_after
    torch.testing.assert_close(after[neither], (w * before)[neither])


def test_kl_cov_moves_the_choice_of_tokens_and_does_not_weigh_their_penalty() -> None:
    tensors, w = batch(), weights(batch())
    free = {"ppo_kl_coef": 0.0}
    before, after = (gradient(make("kl_cov"), tensors) for make in (plain, weighted))
    penalty_before = before - gradient(plain("kl_cov", **free), tensors)
    penalty_after = after - gradient(weighted("kl_cov", **free), tensors)
    chosen_before, chosen_after = penalty_before.abs() > 1e-9, penalty_after.abs() > 1e-9
    mask, count = tensors["response_mask"], int(0.15 * tensors["response_mask"].sum())
    for chosen, advantages in (
        (chosen_before, tensors["advantages"]),
        (chosen_after, w * tensors["advantages"]),
    ):
        top = covariance(tensors, advantages)[mask].topk(count).values.min()
        assert torch.equal(chosen, (covariance(tensors, advantages) >= top) & mask)
    assert not torch.equal(chosen_before, chosen_after)
    both = chosen_before & chosen_after
    assert both.any()
    torch.testing.assert_close(penalty_after[both], penalty_before[both])  # not times w
    torch.testing.assert_close(after - penalty_after, w * (before - penalty_before))


@pytest.mark.parametrize("mode", AGGREGATIONS)
def test_dro_weighs_the_advantage_and_not_the_penalty(mode: str) -> None:
    tensors, w = batch(), weights(batch())
    no_advantage = tensors | {"advantages": torch.zeros_like(tensors["advantages"])}
    before, after = (gradient(make("dro"), tensors, mode) for make in (plain, weighted))
    penalty = gradient(plain("dro"), no_advantage, mode)
    assert torch.equal(gradient(weighted("dro"), no_advantage, mode), penalty)
    torch.testing.assert_close(after, w * (before - penalty) + penalty)
    assert penalty.abs().max() > 0.01 * before.abs().max()


@pytest.mark.parametrize("loss_type", ["ppo_clip", "reinforce"])
@pytest.mark.parametrize("mode", AGGREGATIONS)
def test_bypass_mode_weighs_what_it_dispatches_to(loss_type: str, mode: str) -> None:
    """Rejection and importance weights come from the two policies, so w has no part in them."""
    correction = RolloutCorrectionConfig(
        bypass_mode=True, loss_type=loss_type, rollout_is="token", rollout_rs="token_k1", rollout_rs_threshold="0.5_2.0"
    )
    tensors = batch()
    before = gradient(plain("bypass_mode", rollout_correction=correction), tensors, mode)
    after = gradient(weighted("bypass_mode", rollout_correction=correction), tensors, mode)
    torch.testing.assert_close(after, weights(tensors) * before, rtol=1e-12, atol=1e-15)
    rejected = (before == 0) & tensors["response_mask"]
    assert 5 < rejected.sum() < tensors["response_mask"].sum() - 20
    ignored = gradient(weighted("bypass_mode", rollout_correction=correction), importance(tensors), mode)
    assert torch.equal(ignored, after)


def test_placement_ratio_is_eq_9_for_vanilla() -> None:
    """min(w r A, clip(w r) A), written out; the dual clip acts on w r."""
    tensors = batch()
    r = weights(tensors) * (tensors["log_prob"] - tensors["old_log_prob"]).exp()
    advantages, mask = tensors["advantages"], tensors["response_mask"]
    surrogate = torch.minimum(r * advantages, r.clamp(1 - LOW, 1 + HIGH) * advantages)
    surrogate = torch.where(advantages < 0, torch.maximum(surrogate, DUAL * advantages), surrogate)
    expected = -2 * (surrogate * mask).sum() / mask.sum()  # two ranks
    (expected_gradient,) = torch.autograd.grad(expected, tensors["log_prob"])
    torch.testing.assert_close(gradient(weighted("vanilla", placement="ratio"), tensors), expected_gradient)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"vanilla"}))
def test_placement_ratio_is_refused_elsewhere_naming_both_keys(name: str) -> None:
    with pytest.raises(ValueError, match=f"placement=ratio and base_loss={name} .*vanilla; use placement=advantage"):
        weighted(name, placement="ratio")


@pytest.mark.parametrize("name", ["vanila", LOSS_NAME, ""])
def test_an_unknown_loss_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"base_loss='{name}' .*choose one of: bypass_mode, cispo, .*vanilla"):
        require(name, "advantage")


def training_data(tensors: Batch) -> tuple[Tensor, TensorDict]:
    """One micro-batch as verl's engine hands it to ``ppo_loss``: jagged rows of a prompt of 2 and a response."""
    mask = tensors["response_mask"]
    lengths = [mask.shape[1] - row % 3 for row in range(len(mask))]

    def jagged(values: Tensor) -> Tensor:
        rows = [row[:length] for row, length in zip(values.detach(), lengths, strict=True)]
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    data = TensorDict(
        {
            "prompts": torch.nested.as_nested_tensor([torch.ones(2)] * len(mask), layout=torch.jagged),
            "responses": jagged(mask),
            "response_mask": jagged(mask),
            "old_log_probs": jagged(tensors["old_log_prob"]),
            "ref_log_prob": jagged(tensors["old_log_prob"] - 0.1),
            "advantages": jagged(tensors["advantages"]),
        },
        batch_size=len(mask),
    )
    tensordict_utils.assign_non_tensor(data, dp_size=1, batch_num_tokens=int(mask.sum()), global_batch_size=len(mask))
    # The model's output is one row for prompt and response, the log-probability of token t at place t - 1.
    output = [
        torch.cat([row.new_zeros(1), row[:n], row.new_zeros(1)])
        for row, n in zip(tensors["log_prob"].detach(), lengths, strict=True)
    ]
    return torch.cat(output), data


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_entropy_bonus_and_kl_loss_are_not_weighted(name: str) -> None:
    """Through verl's ``ppo_loss``: what w changes is the policy loss's share of the gradient, and nothing beside it."""
    tensors = batch()
    flat, data = training_data(tensors)

    def gradients(policy_loss: PolicyLossConfig, beside: bool) -> tuple[Tensor, Tensor, dict[str, float]]:
        torch.manual_seed(0)
        config = actor(policy_loss, tensors, use_kl_loss=beside, kl_loss_coef=0.5, entropy_coeff=0.25)
        log_probs, entropy = flat.clone().requires_grad_(), (flat + 3.0).requires_grad_()
        output = {"log_probs": log_probs} | ({"entropy": entropy} if beside else {})
        loss, metrics = ppo_loss(config, output, data.copy())
        by_log_prob, by_entropy = torch.autograd.grad(loss, [log_probs, entropy], allow_unused=True)
        kept = {key: metrics[key].aggregate() for key in ("kl_loss", "actor/entropy_loss") if key in metrics}
        return by_log_prob, by_entropy, kept

    ours, our_entropy, our_metrics = gradients(weighted(name), beside=True)
    verls, verl_entropy, verl_metrics = gradients(plain(name), beside=True)
    kl_in_ours = ours - gradients(weighted(name), beside=False)[0]
    kl_in_verls = verls - gradients(plain(name), beside=False)[0]
    torch.testing.assert_close(kl_in_ours, kl_in_verls, rtol=1e-9, atol=1e-14)
    assert torch.equal(our_entropy, verl_entropy)
    assert our_metrics == verl_metrics
    assert kl_in_verls.abs().max() > 1e-5
    assert verl_entropy.abs().max() > 1e-5
    assert not torch.allclose(ours, verls)


def test_verls_v1_trainer_leaves_the_loss_alone_in_bypass_mode() -> None:
    """The decision for ``rollout_correction.bypass_mode`` rests on this: V1 only puts vLLM's log-probabilities."""
    from verl.trainer.ppo.v1 import trainer_base

    source = inspect.getsource(trainer_base)
    assert 'data["old_log_probs"] = data.pop("rollout_log_probs")' in source
    assert "loss_mode" not in source
    assert "apply_bypass_mode" not in source


def test_verls_v0_trainer_replaces_the_loss_in_bypass_mode() -> None:
    """Preflight refuses it (TR419): the driver's config then names a loss that the workers were not built with."""
    from verl.trainer.ppo.rollout_corr_helper import apply_bypass_mode

    policy_loss = OmegaConf.create({"loss_mode": LOSS_NAME, "base_loss": "vanilla"})
    rollout = torch.zeros(1, 1)
    apply_bypass_mode(SimpleNamespace(batch={"rollout_log_probs": rollout}), RolloutCorrectionConfig(), policy_loss)
    assert policy_loss.loss_mode == "bypass_mode"


def test_every_loss_takes_the_arguments_that_ours_hands_on() -> None:
    expected = list(inspect.signature(get_policy_loss_fn(LOSS_NAME)).parameters)
    for name in LOSSES:
        assert list(inspect.signature(get_policy_loss_fn(name)).parameters) == expected, name
