"""Which variables go along, and that no rendered file holds a secret."""

import pytest
from launch_cases import job

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch import kubernetes, ray_job, skypilot, slurm, ssh
from tr_grpo.trainer.launch.environment import names, refuse_secrets

CANARY = "hf_canaryCanaryCanaryCanary42"
HERE = {
    **{"HF_TOKEN": CANARY, "HF_HOME": "/data/hub", "NCCL_DEBUG": "INFO", "WANDB_API_KEY": CANARY[::-1]},
    **{"RAY_ADDRESS": "10.0.0.1:6379", "HOME": "/root", "PATH": "/bin", "MY_OWN": "1", "CUDA_VISIBLE_DEVICES": "0"},
}


def test_hubs_trackers_and_networks_go_along_and_this_machine_s_own_stays() -> None:
    assert names(HERE, ()) == ("HF_HOME", "HF_TOKEN", "NCCL_DEBUG", "WANDB_API_KEY")
    assert names(HERE, ("MY_OWN",)) == ("HF_HOME", "HF_TOKEN", "MY_OWN", "NCCL_DEBUG", "WANDB_API_KEY")


@pytest.mark.parametrize(
    ("asked", "says"), [("UNSET", "not set here"), ("A=b", "give a variable's name"), ("", "name")]
)
def test_a_variable_that_cannot_go_along_is_refused(asked: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        names(HERE, (asked,))


def test_no_rendered_file_and_no_command_line_holds_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    asked = job(variables=("HF_TOKEN", "WANDB_API_KEY"))
    for rendered in (
        slurm.render(asked, slurm.Options()),
        kubernetes.render(asked, kubernetes.Options("image", claim="shared", secret="keys")),
        skypilot.render(asked, skypilot.Options()),
        ssh.render(asked, ssh.Options(("a", "b"))),
        ray_job.render(asked, ray_job.Options()),
    ):
        assert CANARY not in str(rendered)
        assert CANARY[::-1] not in str(rendered)


def test_a_secret_among_the_words_is_refused_before_anything_is_written() -> None:
    files = slurm.render(job(words=(f"+my.key={CANARY[::-1]}",)), slurm.Options()).files
    with pytest.raises(InputError, match=r"job\.sbatch would hold the value of WANDB_API_KEY"):
        refuse_secrets(files, HERE)
    with pytest.raises(InputError, match=r"would hold a secret"):
        refuse_secrets({"x": "+a=hf_abcdefghijklmnopqrstuvwxyz"}, {})


def test_what_is_no_secret_may_be_written() -> None:
    refuse_secrets(slurm.render(job(), slurm.Options()).files, HERE | {"HF_HOME": "/shared"})
