"""Preflight of sampling, parallelism and seeds: each fault is found from the config alone, and nothing else is."""

import pytest
import torch
from findings import Run, codes

from tr_grpo.trainer.preflight import batch, sampling, settings

ROLLOUT = "actor_rollout_ref.rollout"
ACTOR = "actor_rollout_ref.actor"


@pytest.mark.parametrize("algo", ["grpo", "tr_grpo", "dapo"])
def test_a_healthy_run_has_no_finding(run: Run, algo: str) -> None:
    assert codes([*sampling.check(run(f"algo={algo}")), *settings.check(run(f"algo={algo}"))]) == []


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ([f"{ROLLOUT}.temperature=0"], "TR424"),
        ([f"{ROLLOUT}.top_p=0.95"], "TR425"),
        ([f"{ROLLOUT}.top_k=20"], "TR425"),
        (["algorithm.use_kl_in_reward=true", f"{ACTOR}.use_kl_loss=true"], "TR426"),
        ([f"{ROLLOUT}.val_kwargs.n=4"], "TR427"),
        ([f"{ROLLOUT}.val_kwargs.n=4", f"{ROLLOUT}.val_kwargs.do_sample=true"], "TR427"),
        ([f"{ROLLOUT}.tensor_model_parallel_size=2"], "TR428"),
        ([f"{ACTOR}.ulysses_sequence_parallel_size=2"], "TR429"),
        (["trainer.n_gpus_per_node=2", f"{ACTOR}.ulysses_sequence_parallel_size=2"], "TR429"),
        ([f"{ROLLOUT}.max_model_len=263"], "TR436"),
        (["algorithm.filter_groups.enable=true", "trainer.use_v1=false"], "TR437"),
        (["algorithm.rollout_correction.rollout_is=token", f"{ROLLOUT}.calculate_log_probs=false"], "TR438"),
        (["data.seed=null"], "TR439"),
        ([f"{ACTOR}.fsdp_config.full_determinism=true"], "TR440"),
        ([f"{ROLLOUT}.full_determinism=true"], "TR440"),
        ([f"{ACTOR}.optim.lr=0"], "TR441"),
    ],
)
def test_each_fault_has_its_code(run: Run, overrides: list[str], code: str) -> None:
    assert codes(list(sampling.check(run(*overrides)))) == [code]


@pytest.mark.parametrize(
    "overrides",
    [
        [f"{ROLLOUT}.val_kwargs.n=4", f"{ROLLOUT}.val_kwargs.do_sample=true", f"{ROLLOUT}.val_kwargs.temperature=0.6"],
        ["trainer.n_gpus_per_node=2", f"{ROLLOUT}.tensor_model_parallel_size=2"],
        [
            "trainer.n_gpus_per_node=2",
            f"{ACTOR}.ulysses_sequence_parallel_size=2",
            "actor_rollout_ref.model.use_remove_padding=true",
        ],
        [f"{ROLLOUT}.max_model_len=264"],
        ["algorithm.rollout_correction.rollout_is=token"],
        ["data.seed=null", "data.shuffle=false"],
        [f"{ACTOR}.fsdp_config.full_determinism=true", "trainer.use_v1=false"],
    ],
)
def test_what_is_meant_so_is_no_finding(run: Run, overrides: list[str]) -> None:
    assert codes(list(sampling.check(run(*overrides)))) == []


def test_without_a_seed_torch_shuffles_alike_every_time() -> None:
    """What TR439 says: verl leaves its generator at torch's default seed."""
    first, second = (torch.randperm(100, generator=torch.Generator()) for _ in range(2))
    assert torch.equal(first, second)


def test_what_verl_itself_refuses_is_one_line(run: Run) -> None:
    reference = "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=null"
    fixed = [f"{ACTOR}.use_dynamic_bsz=false", f"{ACTOR}.ppo_micro_batch_size_per_gpu=8", f"{ACTOR}.use_kl_loss=true"]
    (finding,) = settings.check(run(*fixed, reference))
    assert finding.code == "TR442"
    assert "\n" not in finding.message
    assert "log_prob_micro_batch_size" in finding.message


def test_verl_stays_silent_while_it_checks(run: Run, capsys: pytest.CaptureFixture) -> None:
    assert list(settings.check(run())) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("key", ["actor_rollout_ref.actor.ppo_mini_batch_size", "data.train_batch_size"])
@pytest.mark.parametrize("value", ["0", "null", "-4", "two"])
def test_a_size_that_cannot_be_divided_by_is_said_and_not_divided_by(run: Run, key: str, value: str) -> None:
    assert codes(list(batch.check(run(f"{key}={value}")))) == ["TR403"]
