"""What every run changes in verl, against the pinned verl."""

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.trainer import run_name, weight_sync
from tr_grpo.trainer.compose import compose, environment

VERLS = "ipc:///tmp/rl-colocate-zmq-01000000-replica-0-rank-1.sock"


def python(code: str, **variables: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VERL_", "TR_GRPO_"))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=kept | variables, capture_output=True, text=True, timeout=100
    )


@given(st.text("0123456789abcdef", min_size=8, max_size=8), st.text("0123456789abcdef", min_size=8, max_size=8))
def test_two_runs_never_share_a_socket_and_one_runs_ends_meet(one: str, other: str) -> None:
    assert (weight_sync.of_run(VERLS, one) == weight_sync.of_run(VERLS, other)) == (one == other)
    assert weight_sync.of_run(VERLS, one).endswith("-01000000-replica-0-rank-1.sock")


def test_another_name_than_verls_is_refused() -> None:
    with pytest.raises(ValueError, match="names the sockets of its weight sync differently"):
        weight_sync.of_run("ipc:///tmp/weights.sock", "a")


def test_both_ends_are_renamed_within_a_run_and_neither_outside() -> None:
    code = """
        import torch, verl
        from verl.workers.rollout.vllm_rollout import bucketed_weight_transfer as transfer
        handle = "ipc:///tmp/rl-colocate-zmq-01000000-replica-0-rank-0.sock"
        print(transfer.BucketedWeightSender(zmq_handle=handle, bucket_size_mb=1, use_shm=True).zmq_handle)
        print(transfer.BucketedWeightReceiver(zmq_handle=handle, device=torch.device("cpu"), use_shm=True).zmq_handle)
    """
    # vLLM for the CPU is found with the CPU platform alone.
    plugin = {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "tr_grpo.trainer.plugin,tr_grpo.trainer.cpu.plugin"}
    inside = python(code, **plugin, **{run_name.VARIABLE: "abcd"})
    assert inside.stdout.split()[-2:] == ["ipc:///tmp/rl-colocate-zmq-abcd-01000000-replica-0-rank-0.sock"] * 2, (
        inside.stderr
    )
    assert "abcd" not in python(code, **plugin).stdout


def test_verl_still_names_its_sockets_as_we_expect() -> None:
    """Sender and receiver derive the name in two places; both must hold the part that is replaced."""
    import importlib.util
    from pathlib import Path

    root = Path(str(importlib.util.find_spec("verl").submodule_search_locations[0])) / "workers/rollout/vllm_rollout"  # type: ignore[union-attr,index]
    for file in ("vllm_rollout.py", "utils.py"):
        assert f'"ipc:///tmp{weight_sync.VERLS}' in (root / file).read_text()


def test_every_cluster_loads_the_plugin() -> None:
    for cluster in ("cpu", "gpu_1", "node_4x80gb", "node_8x80gb"):
        modules = environment(compose([f"cluster={cluster}"]))["VERL_USE_EXTERNAL_MODULES"].split(",")
        assert "tr_grpo.trainer.plugin" in modules
        assert ("tr_grpo.trainer.cpu.plugin" in modules) == (cluster == "cpu")


def test_a_vllm_that_never_answers_is_waited_for_so_long_and_no_longer() -> None:
    code = """
        import asyncio, time, torch, verl
        from verl.workers.rollout.vllm_rollout import bucketed_weight_transfer as transfer
        handle = "ipc:///tmp/rl-colocate-zmq-01000000-replica-7-rank-0.sock"
        sender = transfer.BucketedWeightSender(zmq_handle=handle, bucket_size_mb=1, use_shm=True)
        try:
            asyncio.run(sender.async_send_weights(iter([("weight", torch.zeros(3))])))
        except RuntimeError as error:
            print(error)
    """
    plugin = {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "tr_grpo.trainer.plugin,tr_grpo.trainer.cpu.plugin"}
    result = python(code, **plugin, **{run_name.VARIABLE: "abcd", weight_sync.LIMIT: "0.5"})
    assert "vLLM did not take a bucket of weights within 0.5 s" in result.stdout, result.stderr[-2000:]
    assert not run_name.remove_left("abcd")
