"""Preflight of GPUs, from what ``nvidia-smi`` prints: no GPU is needed to test what it means."""

import pytest
from findings import Run, codes
from omegaconf import DictConfig

from tr_grpo.trainer.preflight import gpu
from tr_grpo.trainer.preflight.gpu import GIB, MIB, Gpu

A100 = "0, NVIDIA A100-SXM4-80GB, 81920, 4, 8.0, Disabled\n1, NVIDIA A100-SXM4-80GB, 81920, 4, 8.0, Disabled\n"
BANNER = "| NVIDIA-SMI 570.86.15      Driver Version: 570.86.15      CUDA Version: 12.8     |"


def gpus(count: int = 4, total: int = 80 * GIB, used: int = 0, capability: float = 9.0, mig: bool = False) -> list[Gpu]:
    return [Gpu(index, "G", total, used, capability, mig) for index in range(count)]


def test_nvidia_smis_rows_are_read() -> None:
    assert gpu.parse(A100)[1] == Gpu(1, "NVIDIA A100-SXM4-80GB", 81920 * MIB, 4 * MIB, 8.0, False)
    assert gpu.parse("0, NVIDIA H100, 81559, 0, 9.0, Enabled\n")[0].mig
    assert not gpu.parse("0, NVIDIA L4, 23034, 1, 8.9, [N/A]\n")[0].mig
    assert gpu.parse("0, Tesla P4, 7680, 1, [N/A], [N/A]\n")[0].capability == 0.0


@pytest.mark.parametrize("rows", ["", "No devices were found\n", "0, X, [N/A], [N/A], 9.0, Disabled\n", "Failed, a\n"])
def test_what_is_no_gpu_is_left_out(rows: str) -> None:
    assert gpu.parse(rows) == []


def test_the_banners_cuda_version_is_the_drivers() -> None:
    assert gpu.driver_cuda(BANNER) == (12, 8)
    assert gpu.driver_cuda("| CUDA UMD Version: 13.3 |") == (13, 3)
    assert gpu.driver_cuda("command not found") is None


@pytest.mark.parametrize(("mask", "left"), [(None, 4), ("", 4), ("1", 1), ("0,3", 2), ("GPU-3f2a", 4)])
def test_the_mask_leaves_what_it_names(mask: str | None, left: int) -> None:
    assert len(gpu.visible(gpus(), mask)) == left


def found(
    config: DictConfig, cards: list[Gpu], driver: tuple[int, int] = (13, 0), built_for: str = "13.0"
) -> list[str]:
    return codes(list(gpu.judge(config, cards, driver, built_for)))


@pytest.fixture
def config(run: Run) -> DictConfig:
    return run("cluster=node_4x80gb")


@pytest.mark.parametrize(
    ("cards", "driver", "built_for", "expected"),
    [
        (gpus(), (13, 0), "13.0", []),
        (gpus(), (13, 2), "12.8", []),
        (gpus(), (12, 2), "12.8", []),  # within a major version drivers are compatible
        (gpus(), (12, 8), "13.0", ["TR531"]),
        (gpus(capability=7.0), (13, 0), "13.0", ["TR532"]),
        (gpus(capability=0.0), (13, 0), "13.0", []),  # not told
        (gpus(used=GIB // 2), (13, 0), "13.0", []),
        (gpus(used=9 * GIB), (13, 0), "13.0", ["TR533"]),
        (gpus(mig=True), (13, 0), "13.0", ["TR534"]),
        ([], (13, 0), "13.0", []),
    ],
)
def test_each_fault_has_its_code(
    config: DictConfig, cards: list[Gpu], driver: tuple[int, int], built_for: str, expected: list[str]
) -> None:
    assert found(config, cards, driver, built_for) == expected


def test_memory_counts_weights_moments_and_vllms_share(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.1e9 parameters on four devices: 8.7 GiB at rest, 11.6 in the update; vLLM takes half."""
    monkeypatch.setattr(gpu, "parameters", lambda path: 3_100_000_000)
    stays = run("cluster=node_4x80gb")
    assert found(stays, gpus(total=80 * GIB)) == []
    assert found(stays, gpus(total=18 * GIB)) == []
    assert found(stays, gpus(total=17 * GIB)) == ["TR535"]
    offload = "actor_rollout_ref.actor.fsdp_config"
    moves = run("cluster=node_4x80gb", f"{offload}.param_offload=true", f"{offload}.optimizer_offload=true")
    assert found(moves, gpus(total=17 * GIB)) == []
    assert found(moves, gpus(total=11 * GIB)) == ["TR535"]
    assert found(run("cluster=node_4x80gb", "actor_rollout_ref.model.lora_rank=16"), gpus(total=11 * GIB)) == []


def test_a_cpu_asks_no_driver(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("nvidia-smi was asked")

    monkeypatch.setattr(gpu, "query", refuse)
    assert list(gpu.check(run())) == []


def test_a_head_node_without_gpus_has_nothing_to_judge(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu.query() == ([], None)
    assert list(gpu.check(run("cluster=node_4x80gb"))) == []
