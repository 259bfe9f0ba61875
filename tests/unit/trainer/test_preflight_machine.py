"""Preflight of Ray's start, the network, the disk and trackers: each code is provoked, a sound machine is silent."""

import os
import resource
import socket
from collections import namedtuple
from pathlib import Path

import pytest
from findings import Run, codes

from tr_grpo.trainer.preflight import disk, network, ray_start, tracker

Usage = namedtuple("Usage", "total used free")
ENVIRONMENT = "+ray_kwargs.ray_init.runtime_env.env_vars"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The shell that runs the tests has no say, and neither has its home."""
    names = ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR", "WANDB_API_KEY", "WANDB_MODE", "NETRC", "SWANLAB_API_KEY")
    for name in (*names, *network.VARIABLES):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # How full this machine's disk is, and how many files it lets a process open, is not the run's.
    monkeypatch.setattr(ray_start.shutil, "disk_usage", lambda path: Usage(100 * 2**30, 50 * 2**30, 50 * 2**30))
    monkeypatch.setattr(ray_start.resource, "getrlimit", lambda kind: (1024, 65536))


def test_a_sound_machine_has_no_finding(run: Run) -> None:
    config = run()
    found = [*ray_start.check(config), *network.check(config), *disk.check(config), *tracker.check(config)]
    assert codes(found) == []


def test_a_low_limit_of_open_files_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_start.resource, "getrlimit", lambda kind: (1024, 1024))
    assert codes(list(ray_start.check(run()))) == ["TR509"]
    monkeypatch.setattr(ray_start.resource, "getrlimit", lambda kind: (1024, resource.RLIM_INFINITY))
    assert codes(list(ray_start.check(run()))) == []


def test_an_address_at_which_no_ray_answers_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "ray_kwargs.ray_init.address"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert codes(list(ray_start.check(run(f"{address}=127.0.0.1:{port}")))) == []
        assert codes(list(ray_start.check(run(f"{address}=ray://127.0.0.1:{port}")))) == []
    (finding,) = ray_start.check(run(f"{address}=127.0.0.1:{port}"))
    assert finding.code == "TR510"
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    assert codes(list(ray_start.check(run(f"{address}=null")))) == ["TR510"]
    assert codes(list(ray_start.check(run()))) == []  # cluster=cpu starts a Ray of its own


def test_a_placement_group_that_never_fits_is_found(run: Run) -> None:
    """Three CPUs a device and one for the trainer."""
    assert codes(list(ray_start.check(run("ray_kwargs.ray_init.num_cpus=4")))) == []
    (finding,) = ray_start.check(run("ray_kwargs.ray_init.num_cpus=3"))
    assert finding.code == "TR511"
    assert "num_cpus=32" in finding.fix
    assert codes(list(ray_start.check(run("trainer.n_gpus_per_node=11")))) == ["TR511"]


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000\n", 64), ("200000 100000\n", 2), ("50000 100000\n", 1), ("9900000 100000\n", 64)],
)
def test_a_containers_cpus_are_its_quota(monkeypatch: pytest.MonkeyPatch, quota: str, expected: int) -> None:
    monkeypatch.setattr(ray_start.os, "cpu_count", lambda: 64)
    assert ray_start.cores(quota) == expected


def test_a_container_with_few_cpus_is_found(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_start.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(ray_start, "CGROUP", tmp_path / "cpu.max")
    config = run("ray_kwargs.ray_init.num_cpus=null")
    assert codes(list(ray_start.check(config))) == []
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert codes(list(ray_start.check(config))) == ["TR511"]


def test_the_cpus_of_a_device_are_verls() -> None:
    from verl.single_controller.ray.base import ResourcePoolManager

    assert ResourcePoolManager.max_colocate_count == ray_start.CPUS_A_DEVICE


def test_a_path_too_long_for_rays_sockets_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = ray_start.LONGEST_SOCKET - len(ray_start.SOCKET) - len("/ray/")
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * (longest - 1))
    assert codes(list(ray_start.check(run()))) == []
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * longest)
    assert codes(list(ray_start.check(run()))) == ["TR512"]


def test_a_full_disk_of_rays_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_start.shutil, "disk_usage", lambda path: Usage(100, 96, 4))
    assert codes(list(ray_start.check(run()))) == ["TR513"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("eth0", []), ("eth", []), ("ib0,eth0", []), ("=eth0", []), ("^docker0", []), ("ib0", ["TR514"])],
)
def test_an_interface_that_is_not_there_is_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]
) -> None:
    for name in ("lo", "eth0"):
        (tmp_path / "net" / name).mkdir(parents=True)
    monkeypatch.setattr(network, "INTERFACES", tmp_path / "net")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", value)
    assert codes(list(network.check(run()))) == expected
    monkeypatch.delenv("NCCL_SOCKET_IFNAME")
    assert codes(list(network.check(run(f"{ENVIRONMENT}.GLOO_SOCKET_IFNAME={value}")))) == expected


MOUNTS = "/dev/a / ext4 rw 0 0\nserver:/x /mnt/shared nfs4 rw 0 0\ntmpfs /mnt/shared/my\\040tmp tmpfs rw 0 0\n"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/mnt", "ext4"), ("/mnt/shared/run", "nfs4"), ("/mnt/shared2", "ext4"), ("/mnt/shared/my tmp/x", "tmpfs")],
)
def test_the_file_system_is_that_of_the_longest_mount_point(path: str, kind: str) -> None:
    assert network.file_system(Path(path), MOUNTS) == kind


def test_a_run_folder_that_only_one_node_sees_is_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mounts"
    monkeypatch.setattr(network, "MOUNTS", table)
    table.write_text("/dev/a / ext4 rw 0 0\n")
    assert codes(list(network.check(run("trainer.nnodes=2")))) == ["TR515"]
    assert codes(list(network.check(run()))) == []
    table.write_text("server:/x / nfs4 rw 0 0\n")
    assert codes(list(network.check(run("trainer.nnodes=2")))) == []


def test_a_file_from_the_future_is_found(run: Run, tmp_path: Path) -> None:
    config = run()
    folder = Path(config.trainer.default_local_dir)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    assert codes(list(disk.check(config))) == []
    later = (folder / "config.yaml").stat().st_mtime + 3600
    os.utime(folder / "config.yaml", (later, later))
    (finding,) = disk.check(config)
    assert finding.code == "TR516"
    assert "60 minutes" in finding.message or "59 minutes" in finding.message


def test_checkpoints_are_counted_as_they_are_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gibi-parameter with moments is 12 GiB; 25 steps saved every five are five checkpoints; two are kept."""
    monkeypatch.setattr(disk, "parameters", lambda path: 2**30)

    def found(free: int, *overrides: str) -> list[tuple[str, str]]:
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(100, 0, free * 2**30))
        return [(finding.code, str(finding.severity)) for finding in disk.check(run(*overrides))]

    assert found(24) == []
    assert found(23) == [("TR517", "warning")]
    assert found(11) == [("TR517", "error")]
    assert found(11, "trainer.save_freq=-1") == []
    assert found(59, "trainer.max_actor_ckpt_to_keep=null") == [("TR517", "warning")]
    assert found(60, "trainer.max_actor_ckpt_to_keep=null") == []
    assert (
        found(4, "actor_rollout_ref.actor.checkpoint.save_contents=[model]", "trainer.max_actor_ckpt_to_keep=1") == []
    )


def test_a_tracker_that_verl_does_not_know_is_found(run: Run) -> None:
    assert codes(list(tracker.check(run("trainer.logger=[console, wadnb]")))) == ["TR521"]
    assert codes(list(tracker.check(run("trainer.logger=console")))) == []


def test_a_tracker_that_is_not_installed_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracker.MODULES, "mlflow", "not_a_package_of_this_world")
    assert codes(list(tracker.check(run("trainer.logger=[mlflow]")))) == ["TR521"]


def test_the_trackers_are_verls() -> None:
    from verl.utils.tracking import Tracking

    assert {*tracker.MODULES, *tracker.WITHOUT_MODULE} == set(Tracking.supported_backend)


def test_a_wandb_without_a_key_is_found_and_no_key_is_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracker.MODULES, "wandb", "json")  # installed, whatever this machine has
    config = run("track=wandb")
    assert codes(list(tracker.check(config))) == ["TR522"]
    assert codes(list(tracker.check(run("track=wandb", f"{ENVIRONMENT}.WANDB_MODE=offline")))) == []
    entry = tmp_path / "home" / ".netrc"
    entry.write_text("machine another.host login user password secret-value\n")
    (finding,) = tracker.check(config)
    assert "secret-value" not in str(finding)
    entry.write_text("machine api.wandb.ai login user password secret-value\n")
    assert codes(list(tracker.check(config))) == []
    entry.write_text("not a netrc file\n")
    assert codes(list(tracker.check(config))) == ["TR522"]
    monkeypatch.setenv("WANDB_API_KEY", "secret-value")
    assert codes(list(tracker.check(config))) == []


def test_a_swanlab_without_a_key_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracker.MODULES, "swanlab", "json")
    config = run("trainer.logger=[swanlab]")
    assert codes(list(tracker.check(config))) == ["TR522"]
    monkeypatch.setenv("SWANLAB_API_KEY", "secret-value")
    assert codes(list(tracker.check(config))) == []
