"""``tr-grpo launch`` as a user calls it: what a dry run writes and prints, what is refused before anything starts."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch.command import app
from tr_grpo.trainer.launch.job import make

WORDS = ("algo=tr_grpo", "llm=tiny", "cluster=cpu", "+data.note='a \"b\" $c'")
CANARY = "hf_canaryCanaryCanaryCanary42"
LAUNCHERS = {
    "slurm": (["--time=10:00", "trainer.nnodes=2"], "job.sbatch"),
    "ray": ([], "entrypoint.sh"),
    "kubernetes": (
        ["--image=image:1", "--claim=c", "--secret=keys", "--env=HF_TOKEN", "trainer.nnodes=2"],
        "rayjob.yaml",
    ),
    "skypilot": (["--env=HF_TOKEN", "trainer.nnodes=2"], "task.yaml"),
    "ssh": (["--hosts=node1,node2", "--env=HF_TOKEN"], "command.sh"),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("VERL_PLATFORM", "VERL_ENGINE_DEVICE", "VERL_USE_EXTERNAL_MODULES"):
        monkeypatch.setenv(name, "")  # what the check of the run sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("WANDB_API_KEY", CANARY[::-1])


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_dry_run_writes_and_prints_all_that_would_run_and_no_secret(launcher: str, tmp_path: Path) -> None:
    options, file = LAUNCHERS[launcher]
    done = CliRunner().invoke(app, [launcher, "--dry-run", "--out=made", *options, *WORDS], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    assert {file, "command.sh", "config.yaml"} <= set(written)
    for name, text in written.items():
        assert f"# {tmp_path / 'made' / name}\n{text}" in done.stdout
        assert CANARY not in text
        assert CANARY[::-1] not in text
    config = yaml.safe_load(written["config.yaml"])
    assert config["trainer"]["nnodes"] == (1 if launcher == "ray" else 2)
    assert config["data"]["note"] == 'a "b" $c'
    assert not (tmp_path / "outputs").exists()


def test_nothing_is_submitted_where_the_words_are_wrong(tmp_path: Path) -> None:
    for words, says in (
        (["algo=tr_grpoo"], "no such option"),
        (["trainer.nnodes=0"], "TR403"),
        (["actor_rollout_ref.actor.policy_loss.loss_mode=nonsense"], "TR412"),
        (["data.train_batch_size=7"], "TR405"),
        (["+my.api_key=hf_abcdefghijklmnopqrstuvwxyz"], "would hold a secret"),
    ):
        with pytest.raises(InputError, match=says):
            CliRunner().invoke(app, ["slurm", "cluster=cpu", *words], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_is_not_here_is_said_and_its_files_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="sbatch is not installed here"):
        CliRunner().invoke(app, ["slurm", "--out=made", *WORDS], catch_exceptions=False)
    assert (tmp_path / "made" / "job.sbatch").is_file()


def test_the_hosts_are_the_number_of_nodes_and_a_second_number_is_refused() -> None:
    job, config = make(WORDS, nodes=3)
    assert (job.nodes, config.trainer.nnodes) == (3, 3)
    with pytest.raises(InputError, match=r"trainer\.nnodes: leave it out"):
        make((*WORDS, "trainer.nnodes=3"), nodes=3)


def test_paths_of_another_file_system_are_not_made_this_machine_s() -> None:
    job, config = make(WORDS, folder=Path("/shared"))
    assert job.run_folder == Path("/shared/outputs/knights_knaves-tiny-tr_grpo")
    assert config.data.train_files == "data/knights_knaves/train.parquet"


def test_a_rank_outside_the_hosts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the ranks are 0 to 1"):
        CliRunner().invoke(
            app, ["node", "--hosts=a,b", "--rank=2", f"--logs={tmp_path}", "--devices=1"], catch_exceptions=False
        )


def test_hosts_and_rank_are_read_from_an_allocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYPILOT_NODE_IPS", "10.0.0.1\n10.0.0.2\n")
    monkeypatch.setenv("SKYPILOT_NODE_RANK", "5")
    with pytest.raises(InputError, match="--rank=5: there are 2 hosts"):
        CliRunner().invoke(app, ["node", f"--logs={tmp_path}", "--devices=1"], catch_exceptions=False)


def test_the_commands_load_nothing_heavy() -> None:
    heavy = "('torch', 'ray', 'verl', 'hydra')"
    script = f"import sys, tr_grpo.trainer.launch.command; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_command_file_says_can_be_run_by_a_shell(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["ssh", "--dry-run", "--hosts=a,b", "--out=made", *WORDS], catch_exceptions=False)
    lines = (tmp_path / "made" / "command.sh").read_text().splitlines()
    assert [shlex.split(line)[0] for line in lines] == ["ssh", "ssh"]
