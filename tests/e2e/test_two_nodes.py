"""One training run over two nodes, and the doctor's questions to each of them.

Proves that Ray, FSDP over gloo, verl's weight sync and vLLM work over two addresses with nothing shared but the folders
of the run, and that faults between nodes are named before verl starts. Proves nothing about speed, NCCL or GPUs.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import MARK, Run
from two_nodes import Cluster, Node, start_ray, two_nodes, until, why_not

from tr_grpo.trainer.launch import attach

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(why_not() is not None, reason=why_not() or "")]
NewRun = Callable[..., Run]
DOCTOR = [sys.executable, "-m", "tr_grpo.trainer.cli", "doctor", "--cluster", "--json"]


@pytest.fixture
def nodes(files: Path, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two nodes that share the run's folder and the data, and no other part of ``/tmp``."""
    with two_nodes([files, tmp_path]) as both:
        one, other = both
        yield one, other


def doctor(cluster: Cluster, run: Run, *overrides: str) -> dict[str, str]:
    """What ``tr-grpo doctor --cluster`` on the head finds with the nodes: code -> message."""
    words = [*DOCTOR, *run.overrides, *attach.overrides(2, 1), *overrides]
    done = cluster.head.run(words, timeout=400, env=cluster.environment)
    assert done.stdout.startswith("{"), done.stderr[-3000:]
    found = [one for one in json.loads(done.stdout)["findings"] if one["code"].startswith("TR54")]
    assert done.returncode == (2 if found else 0), done.stdout
    return {one["code"]: one["message"] for one in found}


def test_nodes_have_their_own_and_leave_nothing(files: Path, tmp_path: Path) -> None:
    """What the tests below rest on."""
    before = {path.name for path in Path("/sys/class/net").iterdir()}
    greet = [sys.executable, "-m", "http.server", "8000"]
    with two_nodes([tmp_path]) as (one, other):
        other.start(greet, tmp_path / "server.log")
        ask = [sys.executable, "-c", f"import socket; socket.create_connection(('{other.address}', 8000), timeout=2)"]
        until(lambda: one.run(ask).returncode == 0, 20.0, "answer")
        assert one.run(["hostname"]).stdout.strip() == one.name
        one.run(["touch", str(tmp_path / "seen"), "/tmp/unseen", "/dev/shm/unseen"])
        assert other.run(["ls", str(tmp_path / "seen")]).returncode == 0
        assert other.run(["ls", "/tmp/unseen"]).returncode != 0
        assert other.run(["ls", "/dev/shm/unseen"]).returncode != 0
        assert other.run(["ls", str(files)]).returncode != 0
        other.plug(connected=False)
        assert "TimeoutError" in one.run(ask).stderr
        other.plug(connected=True)
        until(lambda: one.run(ask).returncode == 0, 20.0, "answer")
        other.kill()
        assert (one.alive, other.alive) == (True, False)
        base = one.private.parent
    assert not base.exists()
    assert (tmp_path / "seen").exists()
    assert {path.name for path in Path("/sys/class/net").iterdir()} == before


def test_a_run_over_two_nodes_trains_on_both(new_run: NewRun, nodes: tuple[Node, Node], files: Path) -> None:
    head, worker = nodes
    cluster = start_ray(head, worker)
    run = new_run(
        "two", "algo=tr_grpo", "trainer.total_training_steps=2", "trainer.save_freq=2",
        "actor_rollout_ref.actor.optim.lr=1e-3", *attach.overrides(2, 1),
    )  # fmt: skip
    words = [sys.executable, "-m", "tr_grpo.trainer.main", *run.overrides]
    run.process = head.start(words, run.folder.parent / "two.log", cluster.environment | {MARK: run.mark})
    assert run.wait(800) == 0, run.log[-3000:]

    # Each of verl's parts that has one worker a device had one on the other node.
    for part in ("WorkerDict", "vLLMHttpServer"):
        assert f"({part} pid=" in run.log
        lines = [line for line in run.log.splitlines() if f"({part} pid=" in line]
        assert any(f"ip={worker.address})" in line for line in lines), part
        assert any("ip=" not in line.partition(")")[0] for line in lines), part
    # The trainer itself is where the command was given.
    assert not any("ip=" in line.partition(")")[0] for line in run.log.splitlines() if "(TaskRunnerV1 pid=" in line)
    assert list(run.metrics) == [1, 2]
    for step in run.metrics.values():
        assert step["reward/unscored_share"] == 0.0
        assert sum(value for key, value in step.items() if key.startswith("reward/verdict_")) == pytest.approx(1.0)
        # Over both vLLM's: in step 2 each answers with the weights of the update before.
        assert step["training/rollout_probs_diff_max"] < 1e-3
        assert 1.0 <= step["actor/tr/weight_mean"] <= 1.4
    assert max(step["actor/grad_norm"] for step in run.metrics.values()) > 0
    check_shards(run.folder / "global_step_2" / "actor", files / "model")


def check_shards(checkpoint: Path, model: Path) -> None:
    """Each rank saved its half of every weight, and both halves moved."""
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(model).state_dict()
    shards = [
        torch.load(checkpoint / f"model_world_size_2_rank_{rank}.pt", weights_only=False, map_location="cpu")
        for rank in (0, 1)
    ]
    assert shards[0].keys() == shards[1].keys()
    moved = [0.0, 0.0]
    for name in shards[0]:
        halves = [shard[name].to_local() if hasattr(shard[name], "to_local") else shard[name] for shard in shards]
        whole = before[name]
        assert sum(half.shape[0] for half in halves) == whole.shape[0]
        parts = (whole[: len(halves[0])], whole[len(halves[0]) :])
        for rank, (half, part) in enumerate(zip(halves, parts, strict=True)):
            moved[rank] = max(moved[rank], (half.float() - part.float()).abs().max().item() if half.numel() else 0.0)
    assert min(moved) > 1e-4


@pytest.mark.drill
def test_what_is_wrong_between_two_nodes_is_said_before_verl_starts(new_run: NewRun, nodes: tuple[Node, Node]) -> None:
    """Faults of four kinds at once, each named with its node; then the other node dies."""
    head, worker = nodes
    cluster = start_ray(head, worker, env={worker: {"GLOO_SOCKET_IFNAME": "ib0", "NCCL_IB_DISABLE": "1"}})
    run = new_run("faulty")
    data = next(word for word in run.overrides if word.startswith("data.train_files=")).partition("=")[2]
    head.run(["cp", data, "/tmp/mine.parquet"])
    found = doctor(cluster, run, "data.train_files=/tmp/mine.parquet", "trainer.default_local_dir=/tmp/outputs")
    assert set(found) == {"TR541", "TR544", "TR545", "TR547"}
    other = f"{worker.name} ({worker.address})"
    assert "NCCL_IB_DISABLE" in found["TR541"]
    assert other in found["TR544"]
    assert other in found["TR545"]
    assert "/tmp/mine.parquet" in found["TR545"]
    assert f"GLOO_SOCKET_IFNAME=ib0 on {other}" in found["TR547"]
    assert head.run(["ls", "-A", "/tmp/outputs"]).returncode != 0
    assert ".tr_grpo" not in head.run(["ls", "-A", "/tmp"]).stdout

    worker.kill()
    found = doctor(cluster, run)
    # TR549 names the dead one, unless Ray has taken it off its list by then.
    assert {"TR548"} <= set(found) <= {"TR548", "TR549"}
    assert f"{head.name} ({head.address}): 1 of 1 devices" in found["TR548"]
    assert worker.name not in found["TR548"]
    assert worker.name in found.get("TR549", worker.name)


def test_one_sound_machine_is_asked_without_a_finding(new_run: NewRun) -> None:
    """With a Ray that the doctor starts and stops."""
    run = new_run("sound")
    done = subprocess.run([*DOCTOR, *run.overrides], capture_output=True, text=True, timeout=400, check=False)
    assert done.stdout.startswith("{"), done.stderr[-3000:]
    codes = [one["code"] for one in json.loads(done.stdout)["findings"]]
    assert [code for code in codes if code.startswith("TR54")] == []
    assert not run.folder.exists()
