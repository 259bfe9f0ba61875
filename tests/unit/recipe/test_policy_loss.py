"""How verl finds the loss, and which of its knobs are refused before a run starts."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from loss_cases import actor, batch
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.utils.config import omega_conf_to_dataclass

from tr_grpo.recipe.composition import LOSSES
from tr_grpo.recipe.policy_loss import (
    LOSS_NAME,
    PLACEMENTS,
    PROBABILITIES,
    MeasuredLossConfig,
    TRGRPOLossConfig,
    token_weights,
    tr_grpo_loss,
)
from tr_grpo.recipe.weights import TokenWeight


def refusal(knobs: type[MeasuredLossConfig], **values: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        knobs(**values)
    return str(caught.value)


def test_verl_instantiates_the_config_from_its_target_and_finds_the_loss() -> None:
    config = omega_conf_to_dataclass({"_target_": "tr_grpo.recipe.policy_loss.TRGRPOLossConfig", "tau": 5.0})
    assert isinstance(config, TRGRPOLossConfig)
    assert config.weight() == TokenWeight(tau=5.0)
    assert config.loss_mode == LOSS_NAME == "tr_grpo"
    assert get_policy_loss_fn(config.loss_mode) is tr_grpo_loss


def test_every_knob_of_the_weight_reaches_it() -> None:
    sigmoid = {"shape": "reverse", "alpha": 1.9, "tau": 8.0, "mu": 0.3, "lower": 0.5, "upper": 1.6}
    assert TRGRPOLossConfig(**sigmoid).weight() == TokenWeight(**sigmoid)
    assert TRGRPOLossConfig(shape="linear", a=0.2).weight() == TokenWeight("linear", a=0.2)
    assert TRGRPOLossConfig().weight() == TokenWeight()


def test_the_defaults_are_plain_tr_grpo_with_its_diagnostics() -> None:
    config = TRGRPOLossConfig()
    assert (config.base_loss, config.probability, config.placement) == ("vanilla", "current", "advantage")
    assert (config.normalize, config.weighted_kl, config.lopti_threshold, config.sharpness_every) == (
        False,
        False,
        0,
        0,
    )
    assert config.normalize is config.weighted_kl is config.engine_attached is False  # YAML writes them out
    assert config.diagnostics
    assert (config.sharpness_rho, config.hessian_iterations) == (0.05, 0)
    assert config.needs_engine is None
    assert config.batch_mean is None


def test_the_engines_fields_cannot_be_set_by_a_user() -> None:
    for name in ("batch_mean", "engine_attached"):
        with pytest.raises(TypeError, match=name):
            TRGRPOLossConfig(**{name: 1.0})


def test_the_engine_may_set_its_fields_at_each_update_and_nothing_else() -> None:
    config = TRGRPOLossConfig(probability="old", normalize=True)
    for mean in (1.1, 1.2, None):
        config.batch_mean = mean
        config.engine_attached = True
        assert (config.batch_mean, config.engine_attached) == (mean, True)
    with pytest.raises(FrozenInstanceError, match="tau"):
        config.tau = 5.0


def test_what_the_weight_refuses_is_refused_here() -> None:
    assert refusal(TRGRPOLossConfig, lower=1.5) == "lower=1.5 exceeds upper=1.4: exchange them or widen the clip"


@pytest.mark.parametrize(("key", "known"), [("probability", PROBABILITIES), ("placement", PLACEMENTS)])
def test_an_unknown_choice_is_refused_with_the_known_ones(key: str, known: tuple[str, ...]) -> None:
    assert refusal(TRGRPOLossConfig, **{key: "new"}) == f"{key}='new' is not known; choose one of: {', '.join(known)}"


def test_an_unknown_base_loss_and_the_loss_itself_are_refused_with_the_known_ones() -> None:
    for name in ("vanila", LOSS_NAME):
        text = refusal(TRGRPOLossConfig, base_loss=name)
        assert text.startswith(f"base_loss={name!r} ")
        assert all(known in text for known in LOSSES)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"normalize": True}, ("normalize=true", "probability=current", "set probability=old")),
        ({"normalize": True, "probability": "old", "placement": "ratio"}, ("normalize=true", "placement=ratio")),
        ({"placement": "ratio", "base_loss": "gspo"}, ("placement=ratio", "base_loss=gspo", "vanilla")),
        ({"sharpness_every": -1}, ("sharpness_every=-1",)),
        ({"hessian_iterations": -2}, ("hessian_iterations=-2",)),
        ({"sharpness_rho": 0.0}, ("sharpness_rho=0.0 must be positive",)),
        ({"sharpness_rho": float("nan")}, ("sharpness_rho=nan must be positive",)),
        ({"hessian_iterations": 3}, ("hessian_iterations", "sharpness_every=0")),
        ({"lopti_threshold": 1.0}, ("lopti_threshold=1.0",)),
        ({"lopti_threshold": -0.1}, ("lopti_threshold=-0.1",)),
        ({"record_samples": -1}, ("record_samples=-1",)),
        ({"record_every": 0}, ("record_every=0", "record_samples=0")),
    ],
)
def test_values_that_make_no_sense_or_do_not_go_together_are_refused(
    values: dict[str, Any], words: tuple[str, ...]
) -> None:
    text = refusal(TRGRPOLossConfig, **values)
    for word in words:
        assert word in text


def test_the_ends_of_the_ranges_are_accepted() -> None:
    for values in (
        {"sharpness_every": 1, "hessian_iterations": 1, "sharpness_rho": 1e-6},
        {"lopti_threshold": 0.999},
        {"normalize": True, "probability": "old"},
    ):
        TRGRPOLossConfig(**values)


@pytest.mark.parametrize(
    ("values", "knob"),
    [
        ({"normalize": True, "probability": "old"}, "normalize"),
        ({"weighted_kl": True}, "weighted_kl"),
        ({"lopti_threshold": 0.5}, "lopti_threshold"),
    ],
)
def test_a_knob_that_only_the_engine_can_carry_out_is_refused_without_it(values: dict[str, Any], knob: str) -> None:
    knobs = TRGRPOLossConfig(**values)
    assert knobs.needs_engine == knob
    with pytest.raises(ValueError, match=f"^{knob} needs the project's engine.*VERL_ENGINE_VENDOR=tr_grpo"):
        tr_grpo_loss(**batch(), config=actor(knobs))
    knobs.engine_attached = True
    tr_grpo_loss(**batch(), config=actor(knobs))


def test_a_measured_loss_of_verl_needs_the_engine_only_for_lopti() -> None:
    assert MeasuredLossConfig().needs_engine is None
    assert MeasuredLossConfig(lopti_threshold=0.5).needs_engine == "lopti_threshold"


def test_without_verls_config_it_says_so() -> None:
    with pytest.raises(ValueError, match="tr_grpo needs verl's actor config"):
        tr_grpo_loss(**batch())


def test_weights_are_positive_detached_and_at_least_float32() -> None:
    low = torch.full((2, 3), -0.5, dtype=torch.bfloat16, requires_grad=True)
    w = token_weights(TRGRPOLossConfig(), low, low)
    assert w.dtype == torch.float32
    assert not w.requires_grad
    assert token_weights(TRGRPOLossConfig(), low.double(), low.double()).dtype == torch.float64
    knobs = TRGRPOLossConfig(probability="old", normalize=True)
    knobs.batch_mean = 2.0
    assert torch.equal(token_weights(knobs, low, low), w / 2)


def test_advantages_of_a_wider_type_keep_it() -> None:
    tensors = batch(dtype=torch.float32)
    assert tr_grpo_loss(**tensors, config=actor())[0].dtype == torch.float32
    wider = tensors | {"advantages": tensors["advantages"].double()}
    assert tr_grpo_loss(**wider, config=actor())[0].dtype == torch.float64


def test_every_base_loss_and_aggregation_receives_what_it_was_given() -> None:
    tensors = batch()
    sums = {
        mode: tr_grpo_loss(**tensors, loss_agg_mode=mode, config=actor())[0].item()
        for mode in ("token-mean", "token-sum")
    }
    assert sums["token-sum"] == pytest.approx(sums["token-mean"] * tensors["response_mask"].sum().item())
    gpg = tr_grpo_loss(**tensors, config=actor(TRGRPOLossConfig(base_loss="gpg")))[0]
    assert gpg.item() != pytest.approx(sums["token-mean"])
