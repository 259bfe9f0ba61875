"""Preflight of compositions: what does not go together is one line before Ray starts, and no preset is."""

import re
from typing import cast

import pytest
import yaml
from findings import Run, codes
from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer import preflight
from tr_grpo.trainer.compose import CONFIG_FOLDER, GROUPS, compose, options
from tr_grpo.trainer.preflight import compositions, gpu, loss, resume, sampling, settings
from tr_grpo.trainer.preflight.finding import Finding, Severity

ROLLOUT = "actor_rollout_ref.rollout"
MODEL = "actor_rollout_ref.model"
ACTOR = "actor_rollout_ref.actor"
FSDP = f"{ACTOR}.fsdp_config"
ENVIRONMENT = "ray_kwargs.ray_init.runtime_env.env_vars"
TWO = "trainer.n_gpus_per_node=2"
NEEDS = {
    "hsdp": (TWO, f"{FSDP}.fsdp_size=1"),
    "sequence_parallel": (TWO,),
    "rollout_tensor_parallel": (TWO,),
}
"""What a preset needs beside one worker on a CPU."""


@pytest.fixture
def composed(run: Run) -> Run:
    """``run``, with presets merged as Hydra does and in a tenth of the time; a test below compares the two."""

    def build(*overrides: str) -> DictConfig:
        names = [
            name for text in overrides for name in re.findall(r"\w+", text.removeprefix("with=")) if "with=" in text
        ]
        rest = [text for text in overrides if not text.startswith("with=")]
        config = run(*(text for text in rest if text.partition("=")[0] in GROUPS))
        OmegaConf.set_struct(config, False)
        presets = (OmegaConf.load(CONFIG_FOLDER / "with" / f"{name}.yaml") for name in names)
        config = cast(DictConfig, OmegaConf.merge(config, *presets))
        config.group["with"] = ",".join(names)
        for key, _, value in (text.partition("=") for text in rest if text.partition("=")[0] not in GROUPS):
            OmegaConf.update(config, key, yaml.safe_load(value))
        return config

    return build


REFUSED = {"megatron": "TR451", "fp8_rollout": "TR452"}
"""Presets that cannot be run on a CPU."""


@pytest.mark.parametrize("name", sorted(set(options("with")) - set(REFUSED)))
def test_every_preset_goes_with_the_defaults(composed: Run, name: str) -> None:
    assert codes(of_the_config(composed(f"with={name}", "algo=tr_grpo", *NEEDS.get(name, ())))) == []


def of_the_config(config: DictConfig) -> list[Finding]:
    """All that the config alone tells; with LoRA verl's own check loads vLLM, which is for the end-to-end tests."""
    OmegaConf.resolve(config)
    found = [*sampling.check(config), *compositions.check(config), *loss.check(config)]
    return found if config.actor_rollout_ref.model.lora_rank else [*found, *settings.check(config)]


@pytest.mark.parametrize(("name", "code"), REFUSED.items())
def test_what_cannot_run_on_a_cpu_is_one_error(composed: Run, name: str, code: str) -> None:
    (finding,) = compositions.check(composed(f"with={name}"))
    assert (finding.code, finding.severity) == (code, Severity.ERROR)


@pytest.mark.parametrize(
    "overrides", [["with=[lora,activation_checkpointing,offload]"], ["with=[async,static_batches,lora]"], ["with=[]"]]
)
def test_presets_that_go_together_go_together(composed: Run, overrides: list[str]) -> None:
    assert codes(of_the_config(composed("algo=tr_grpo", *overrides))) == []


@pytest.mark.parametrize("cluster", ["gpu_1", "node_4x80gb", "node_8x80gb"])
def test_fp8_and_ulysses_go_with_the_gpu_clusters(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "query", lambda: ([card(9.0)], None))
    words = [f"cluster={cluster}", "llm=qwen2_5_3b_instruct"]
    assert codes(list(compositions.check(compose([*words, "with=fp8_rollout"])))) == []
    assert codes(list(compositions.check(compose([*words, "with=sequence_parallel"])))) == []


def test_the_short_way_is_hydras(run: Run, composed: Run) -> None:
    words = ["with=[lora,offload]", "algo=tr_grpo", TWO]
    assert OmegaConf.to_container(composed(*words)) == OmegaConf.to_container(run(*words))


def card(capability: float) -> gpu.Gpu:
    return gpu.Gpu(0, "a card", total=80 << 30, used=0, capability=capability, mig=False)


@pytest.mark.parametrize(("capability", "found"), [(8.0, ["TR452"]), (8.6, ["TR452"]), (8.9, []), (9.0, []), (0.0, [])])
def test_fp8_needs_a_card_that_has_it(capability: float, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "query", lambda: ([card(capability)], None))
    config = compose(["cluster=gpu_1", "llm=qwen2_5_3b_instruct", "with=fp8_rollout"])
    assert codes(list(compositions.check(config))) == found


def test_fp8_without_importance_weights_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "query", lambda: ([card(9.0)], None))
    config = compose(["cluster=gpu_1", "llm=qwen2_5_3b_instruct", f"{ROLLOUT}.quantization=fp8"])
    (finding,) = compositions.check(config)
    assert (finding.code, finding.severity) == ("TR452", Severity.WARNING)


SEPARATE = "with=one_step_off"


@pytest.mark.parametrize(
    ("overrides", "code", "words"),
    [
        ([f"{ACTOR}.strategy=veomni"], "TR451", "runs on veomni"),
        ([f"{ACTOR}._target_=verl.workers.config.McoreActorConfig"], "TR451", "runs on McoreActorConfig"),
        (["with=lora", "algo=tr_grpo", f"{ACTOR}.policy_loss.sharpness_every=1"], "TR454", "in their subspace"),
        (["with=[lora,one_step_off]"], "TR455", "never the adapters"),
        (["with=lora", f"{ROLLOUT}.layered_summon=true", f"{ROLLOUT}.load_format=dummy"], "TR455", "no base model"),
        ([TWO, "with=hsdp"], "TR456", "plain FSDP"),
        (["trainer.n_gpus_per_node=3", f"{FSDP}.fsdp_size=2"], "TR456", "actor.fsdp_config.fsdp_size=2 does not"),
        ([f"{FSDP}.fsdp_size=0"], "TR456", "fsdp_size=0"),
        ([SEPARATE, "trainer.v1.separate_async.parameter_sync_step=1"], "TR457", "train_batch_size=8 is not"),
        ([SEPARATE, f"{ROLLOUT}.nnodes=0"], "TR457", "rollout.nnodes=0"),
        ([SEPARATE, f"{ROLLOUT}.tensor_model_parallel_size=2"], "TR457", "engines of 2"),
        ([SEPARATE, f"{ROLLOUT}.checkpoint_engine.backend=naive"], "TR457", "backend=naive"),
        ([SEPARATE, f"{ROLLOUT}.checkpoint_engine.backend=nccl"], "TR457", "backend=nccl"),
        ([SEPARATE, "ray_kwargs.ray_init.num_gpus=1"], "TR457", "wait for ever"),
        ([SEPARATE, f"{FSDP}.param_offload=true"], "TR457", "undone"),
        ([SEPARATE, f"{ENVIRONMENT}.VERL_LOGGING_LEVEL=INFO"], "TR457", "level INFO"),
        (["trainer.v1.trainer_mode=asynchronous"], "TR458", "unknown"),
        (["with=async", "trainer.use_v1=false"], "TR458", "ignores it"),
        (
            [TWO, "with=sequence_parallel", f"{MODEL}.override_config.attn_implementation=sdpa"],
            "TR459",
            "its own part",
        ),
        (
            [TWO, "with=sequence_parallel", f"{MODEL}.override_config.attn_implementation=flash_attention_2"],
            "TR459",
            "needs a GPU",
        ),
        ([f"{MODEL}.override_config.attn_implementation=packed_sdpa"], "TR459", "packed batches"),
    ],
)  # fmt: skip
def test_each_fault_has_its_code_and_says_why(composed: Run, overrides: list[str], code: str, words: str) -> None:
    (finding,) = compositions.check(composed(*overrides))
    assert finding.code == code
    assert words in finding.message
    assert "\n" not in f"{finding.message}{finding.fix}"


@pytest.mark.parametrize(
    "overrides",
    [
        ["with=[lora,one_step_off]", f"{MODEL}.lora.merge=true"],
        ["with=lora", f"{ROLLOUT}.layered_summon=true"],
        ["algo=tr_grpo", f"{ACTOR}.policy_loss.sharpness_every=1"],
        ["trainer.n_gpus_per_node=4", "with=hsdp", f"{FSDP}.fsdp_size=2"],
        ["trainer.nnodes=2", TWO, "with=hsdp"],
        [SEPARATE, f"{FSDP}.optimizer_offload=true"],
        [SEPARATE, "trainer.v1.separate_async.parameter_sync_step=1", f"{ACTOR}.ppo_mini_batch_size=8",
         f"{FSDP}.param_offload=true"],
        ["with=async", "algorithm.use_kl_in_reward=false"],
    ],
)  # fmt: skip
def test_what_is_meant_so_is_no_finding(composed: Run, overrides: list[str]) -> None:
    assert codes(list(compositions.check(composed(*overrides)))) == []


def test_nccl_without_cupy_is_found_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(["cluster=node_8x80gb", "llm=qwen2_5_3b_instruct", SEPARATE])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert codes(list(compositions.check(config))) == ["TR457"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert codes(list(compositions.check(config))) == []


def test_megatron_ends_the_preflight_with_its_own_line(composed: Run) -> None:
    """Not with what verl or the loss would say of it."""
    errors = [one for one in preflight.run_checks(composed("with=megatron")) if one.severity is Severity.ERROR]
    assert codes(errors) == ["TR451"]
    skipped = preflight.examine(composed("with=megatron")).skipped
    assert {"loss", "verl's own"} <= set(skipped)


def test_adapters_of_another_shape_are_not_resumed(composed: Run) -> None:
    from test_preflight_resume import checkpoint

    first = composed("with=lora")
    folder = checkpoint(first, 5)
    OmegaConf.save(first, folder / "config.yaml", resolve=True)
    assert codes(list(resume.check(composed("with=lora")))) == []
    (finding,) = resume.check(composed("with=lora", f"{MODEL}.lora_rank=8"))
    assert finding.code == "TR453"
    assert "lora_rank 32 -> 8" in finding.message
    assert "TR453" in codes(list(resume.check(composed())))
    assert codes(list(resume.check(composed("with=lora", f"{MODEL}.lora_alpha=64")))) == ["TR432"]
