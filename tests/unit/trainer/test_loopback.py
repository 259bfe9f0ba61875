"""A run on one machine is kept on the loopback; one that joins a Ray, or that others join, is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from findings import Run

from tr_grpo.trainer.loopback import VARIABLE, keep_on_loopback

ADDRESS = "ray_kwargs.ray_init.address"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No Ray on this machine, and no wish; what the code sets is taken back."""
    monkeypatch.setenv(VARIABLE, "to be restored")
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("address", ["local", "null"])
def test_a_ray_of_the_runs_own_is_kept_on_the_loopback(run: Run, address: str) -> None:
    assert keep_on_loopback(run(f"{ADDRESS}={address}"))
    assert os.environ[VARIABLE] == "0"


@pytest.mark.parametrize(
    "overrides",
    [["trainer.nnodes=2"], [f"{ADDRESS}=auto"], [f"{ADDRESS}=10.0.0.1:6379"], [f"{ADDRESS}=ray://head:10001"]],
)
def test_a_run_of_several_machines_is_not(run: Run, overrides: list[str]) -> None:
    assert not keep_on_loopback(run(*overrides))
    assert VARIABLE not in os.environ


def test_a_run_that_would_join_the_ray_of_this_machine_is_not(
    run: Run, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run(f"{ADDRESS}=null")
    (clean / "ray").mkdir()
    (clean / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    assert not keep_on_loopback(config)
    assert keep_on_loopback(run())  # cluster=cpu: always a Ray of its own
    (clean / "ray" / "ray_current_cluster").unlink()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not keep_on_loopback(config)


def test_who_asks_for_the_machines_address_gets_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert not keep_on_loopback(run())
    assert os.environ[VARIABLE] == "1"


def test_ray_and_what_asks_it_take_the_loopback(clean: Path) -> None:
    """The seam: Ray's services, and by them verl's servers and TransferQueue's sockets."""
    code = "import ray.util; print(ray.util.get_node_ip_address())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {VARIABLE: "0"}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["127.0.0.1"], done.stderr


def test_ray_is_not_imported_before_it_can_be_told() -> None:
    code = "import sys, tr_grpo.trainer.cli, tr_grpo.trainer.main; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False"], done.stderr
