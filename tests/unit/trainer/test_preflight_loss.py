"""Preflight of the policy loss: what a weight means, what only the engine can do, what is refused."""

from types import SimpleNamespace

import pytest
from findings import Run, codes
from omegaconf import DictConfig

from tr_grpo.trainer.compose import options
from tr_grpo.trainer.preflight import batch, loss
from tr_grpo.trainer.preflight.finding import Finding

POLICY_LOSS = "actor_rollout_ref.actor.policy_loss"
MEANS_SOMETHING_ELSE = {f"tr_{name}" for name in ("gspo", "geo_mean", "clip_cov", "kl_cov", "dro")}


@pytest.mark.parametrize("algo", options("algo"))
def test_every_algorithm_passes_up_to_the_data(run: Run, algo: str) -> None:
    """Errors in none; warnings where the weight means something else, and in no other."""
    config = run(f"algo={algo}", "task=knights_knaves", "llm=tiny")
    expected = ["TR414"] if algo in MEANS_SOMETHING_ELSE else ["TR420"] if algo == "tr_grpo_eq9" else []
    assert codes([*batch.check(config), *loss.check(config)]) == expected


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lower=1.5", ["lower=1.5 exceeds upper=1.4"]),
        ("mu=5.0", ["the weight is 1 for every probability"]),
        ("shape=sigmod", ["shape='sigmod'", "sigmoid, shifted, literal, linear, uniform, reverse"]),
        ("placement=advantages", ["placement='advantages'", "advantage, ratio"]),
        ("probability=new", ["probability='new'", "current, old"]),
        ("base_loss=vanila", ["base_loss='vanila'", "bypass_mode, cispo", "vanilla"]),
        ("base_loss=tr_grpo", ["base_loss='tr_grpo'", "vanilla"]),
        ("normalize=true", ["normalize=true and probability=current", "set probability=old"]),
    ],
)
def test_bad_weights_are_found_before_ray(run: Run, override: str, words: list[str]) -> None:
    (finding,) = loss.check(run("algo=tr_grpo", f"{POLICY_LOSS}.{override}"))
    assert finding.code == "TR411"
    assert "\n" not in finding.message
    for word in words:
        assert word in finding.message


@pytest.mark.parametrize(
    ("algo", "override", "words"),
    [
        ("tr_gspo", "placement=ratio", "placement=ratio and base_loss=gspo"),
        ("tr_grpo_eq9", "base_loss=cispo", "placement=ratio and base_loss=cispo"),
        ("tr_grpo_normalized", "placement=ratio", "normalize=true and placement=ratio"),
        ("tr_grpo_uniform", "upper=2.0", "upper=2.0 has no effect with shape=uniform"),
        ("grpo", "hessian_iterations=2", "hessian_iterations has no effect with sharpness_every=0"),
    ],
)
def test_a_refused_combination_names_both_keys(run: Run, algo: str, override: str, words: str) -> None:
    (finding,) = loss.check(run(f"algo={algo}", f"{POLICY_LOSS}.{override}"))
    assert finding.code == "TR411"
    assert words in finding.message


def test_a_weight_that_means_something_else_is_said_with_what(run: Run) -> None:
    (finding,) = loss.check(run("algo=tr_gspo"))
    assert finding.code == "TR414"
    assert "a clipped sequence has no gradient whatever its tokens' weights" in finding.message


def test_weighted_kl_is_warned_of_and_needs_a_kl_loss_of_its_form(run: Run) -> None:
    def found(*overrides: str) -> list[str]:
        actor = (f"actor_rollout_ref.actor.{text}" for text in ("policy_loss.weighted_kl=true", *overrides))
        return codes(list(loss.check(run("algo=tr_grpo", *actor))))

    assert found("use_kl_loss=true") == ["TR415"]
    assert found("use_kl_loss=true", "kl_loss_type=k3") == ["TR415"]
    assert found("use_kl_loss=true", "kl_loss_type=mse") == ["TR416"]
    assert found("use_kl_loss=false") == ["TR416"]


@pytest.mark.parametrize(
    ("algo", "knobs"),
    [
        ("tr_grpo_normalized", ()),
        ("lopti", ()),
        ("grpo", (f"{POLICY_LOSS}.sharpness_every=5",)),
        ("grpo", (f"{POLICY_LOSS}.lopti_threshold=0.5",)),
    ],
)
def test_knobs_of_the_engine_need_the_engine(run: Run, algo: str, knobs: tuple[str, ...]) -> None:
    def found(*overrides: str) -> list[Finding]:
        return list(loss.check(run(f"algo={algo}", *knobs, *overrides)))

    assert codes(found()) == []
    assert codes(found(f"{loss.VENDOR_KEY}=null"))[0] == "TR417"
    assert codes(found(f"{loss.VENDOR_KEY}=nvidia"))[0] == "TR417"
    config = run(f"algo={algo}", *knobs)
    megatron = SimpleNamespace(strategy="megatron", policy_loss=knobs_of(config))
    (finding,) = loss._engine(config, megatron)
    assert finding.code == "TR417"
    assert "actor.strategy=megatron" in finding.message


def knobs_of(config: DictConfig) -> object:
    from verl.utils.config import omega_conf_to_dataclass

    return omega_conf_to_dataclass(config.actor_rollout_ref.actor.policy_loss)


def test_the_probe_needs_fsdp2(run: Run) -> None:
    every = f"{POLICY_LOSS}.sharpness_every=5"
    assert codes(list(loss.check(run(every)))) == []
    assert codes(list(loss.check(run(every, "actor_rollout_ref.actor.strategy=fsdp")))) == ["TR418"]


def test_the_eigenvalue_needs_float32(run: Run) -> None:
    probed = (f"{POLICY_LOSS}.sharpness_every=5", f"{POLICY_LOSS}.hessian_iterations=3")
    precision = "actor_rollout_ref.actor.fsdp_config.mixed_precision"
    assert codes(list(loss.check(run(*probed)))) == []
    assert codes(list(loss.check(run(*probed, f"{precision}.param_dtype=bf16")))) == ["TR423"]
    assert codes(list(loss.check(run(*probed, f"{precision}=null")))) == ["TR423"]  # verl's default is bfloat16


def test_measurements_without_the_engine_are_not_silently_missing(run: Run) -> None:
    elsewhere = f"{loss.VENDOR_KEY}=null"
    assert codes(list(loss.check(run(elsewhere)))) == ["TR422"]
    assert codes(list(loss.check(run(elsewhere, f"{POLICY_LOSS}.diagnostics=false")))) == []


def test_the_engines_name_is_the_engines() -> None:
    from tr_grpo.recipe.engine import VENDOR

    assert loss.VENDOR == VENDOR


def test_bypass_mode_keeps_the_loss_on_v1_alone(run: Run) -> None:
    bypass, v0 = "algorithm.rollout_correction.bypass_mode=true", "trainer.use_v1=false"

    def found(*overrides: str) -> list[str]:
        return codes(list(loss.check(run(*overrides))))

    assert found("algo=tr_grpo", bypass) == []
    assert found("algo=tr_grpo", v0) == []
    assert found("algo=tr_grpo", bypass, v0) == ["TR419"]
    assert found("algo=grpo", bypass, v0) == []
    assert found("algo=tr_grpo", f"{POLICY_LOSS}.base_loss=bypass_mode") == ["TR421"]
    assert found("algo=tr_grpo", f"{POLICY_LOSS}.base_loss=bypass_mode", bypass) == []


def test_eq_9_says_from_which_probability_tokens_have_no_gradient(run: Run) -> None:
    """At r = 1, by verl's own loss: just above the printed probability there is none, just below there is."""
    import torch
    from verl.utils.config import omega_conf_to_dataclass

    from tr_grpo.recipe.policy_loss import tr_grpo_loss

    config = run("algo=tr_grpo_eq9", "actor_rollout_ref.actor.clip_ratio_high=0.24")
    (finding,) = loss.check(config)
    assert "tokens with A > 0 and pi > 0.304 " in finding.message
    log_prob = torch.tensor([[0.303, 0.306]], dtype=torch.float64).log().requires_grad_()
    value, _ = tr_grpo_loss(
        old_log_prob=log_prob.detach(), log_prob=log_prob, advantages=torch.ones(1, 2, dtype=torch.float64),
        response_mask=torch.ones(1, 2), config=omega_conf_to_dataclass(config.actor_rollout_ref.actor),
    )  # fmt: skip
    value.backward()
    assert log_prob.grad is not None
    assert (log_prob.grad != 0).tolist() == [[True, False]]


def test_eq_9_within_the_clip_is_no_finding(run: Run) -> None:
    def found(**knobs: object) -> list[str]:
        overrides = [f"{POLICY_LOSS}.{name}={value}" for name, value in knobs.items()]
        return [finding.message for finding in loss.check(run("algo=tr_grpo_eq9", *overrides))]

    assert found(upper=1.2) == []
    (both_signs,) = found(lower=0.5, upper=1.2)
    assert "A < 0 and pi < 0.205" in both_signs
    (reverse,) = found(shape="reverse")
    assert "A > 0 and pi < 0.186" in reverse


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([f"{POLICY_LOSS}.loss_mode=dro"], "dro_beta"),
        (["actor_rollout_ref.actor.clip_ratio_c=0.5"], "clip_ratio_c"),
    ],
)
def test_a_loss_that_refuses_its_settings_is_one_line(run: Run, overrides: list[str], words: str) -> None:
    (finding,) = loss.check(run(*overrides))
    assert finding.code == "TR413"
    assert words in finding.message


def test_unknown_loss_is_found(run: Run) -> None:
    assert codes(list(loss.check(run("actor_rollout_ref.actor.policy_loss.loss_mode=tr_grop")))) == ["TR412"]


def test_a_loss_without_gradient_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY

    monkeypatch.setitem(POLICY_LOSS_REGISTRY, "vanilla", lambda log_prob, **rest: ((log_prob * 0).sum(), {}))
    assert codes(list(loss.check(run()))) == ["TR413"]
