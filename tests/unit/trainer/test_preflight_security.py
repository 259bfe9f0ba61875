"""Preflight of security: each code is provoked, what is shipped raises none, and no secret is ever shown."""

import os
from pathlib import Path

import pytest
from findings import Run, codes

from tr_grpo.trainer.preflight import finding, security
from tr_grpo.trainer.preflight.finding import Severity

ENVIRONMENT = "+ray_kwargs.ray_init.runtime_env.env_vars"
ADDRESS = "ray_kwargs.ray_init.address"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The shell that runs the tests has no say, and neither has its home."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def found(run: Run, *overrides: str) -> list[finding.Finding]:
    return list(security.check(run(*overrides)))


def test_a_sound_run_has_no_finding(run: Run) -> None:
    assert found(run) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{ENVIRONMENT}.WANDB_API_KEY", "canary"),
        (f"{ENVIRONMENT}.NOTE", "hf_canaryCANARYcanaryCANARY"),
        ("trainer.project_name", "sk-canaryCANARYcanaryCANARY"),
        ("search.url", "http://user:canary@127.0.0.1:8000"),
        ("+trainer.password", "canary"),
    ],
)
def test_a_secret_in_the_config_stops_the_run_and_is_not_shown(run: Run, key: str, value: str) -> None:
    (one,) = found(run, f"{key}={value}")
    assert (one.code, one.severity) == ("TR551", Severity.ERROR)
    assert key.lstrip("+") in one.message
    assert "canary" not in str(one).lower()


def test_a_secret_that_the_config_takes_from_the_environment_is_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-of-the-environment")
    assert codes(found(run, f"{ENVIRONMENT}.HF_TOKEN=" + "${oc.env:HF_TOKEN}")) == ["TR551"]


@pytest.mark.parametrize(
    "override",
    ["search.token_file=/home/me/token", "+data.tokenizer_path=models/tokenizer", "search.url=http://127.0.0.1:8000"],
)
def test_where_a_secret_is_kept_is_no_secret(run: Run, override: str) -> None:
    assert found(run, override) == []


def checkpoint(folder: Path) -> Path:
    """A run folder that can be resumed."""
    (folder / "global_step_2" / "actor").mkdir(parents=True)
    (folder / "latest_checkpointed_iteration.txt").write_text("2")
    shard = folder / "global_step_2" / "actor" / "model_world_size_1_rank_0.pt"
    shard.write_bytes(b"")
    return shard


@pytest.mark.parametrize("which", ["", "global_step_2", "global_step_2/actor/model_world_size_1_rank_0.pt"])
def test_a_checkpoint_that_every_user_may_write_is_found(run: Run, tmp_path: Path, which: str) -> None:
    folder = tmp_path / "a run"
    checkpoint(folder)
    overrides = (f"trainer.default_local_dir={folder}",)
    assert found(run, *overrides) == []
    (folder / which).chmod(0o777)
    (one,) = found(run, *overrides)
    assert (one.code, one.severity) == ("TR552", Severity.WARNING)
    assert str(folder / which) in one.message
    assert found(run, *overrides, "trainer.resume_mode=disable") == []
    (folder / which).chmod(0o1777)  # sticky: no one else may replace what is in it
    assert found(run, *overrides) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_checkpoint_of_another_user_is_found(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    shard = checkpoint(folder)
    os.chown(shard, 12345, 12345)
    named = (f"trainer.resume_from_path={folder}/global_step_2", "trainer.resume_mode=resume_path")
    for overrides in ((f"trainer.default_local_dir={folder}",), named):
        (one,) = found(run, *overrides)
        assert one.code == "TR552"
        assert "another user (12345)" in one.message


def test_a_model_of_pickled_weights_alone_is_found(run: Run, tmp_path: Path) -> None:
    path = "actor_rollout_ref.model.path"
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (one,) = found(run, f"{path}={tmp_path}")
    assert one.code == "TR553"
    assert "pytorch_model.bin" in one.message
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert found(run, f"{path}={tmp_path}") == []
    assert found(run, f"{path}=organisation/name") == []


@pytest.mark.parametrize(
    ("address", "mode", "expected"),
    [
        ("local", None, []),  # Ray turns it on where it starts
        ("null", None, []),
        ("auto", None, []),
        ("local", "token", []),
        ("10.0.0.1:6379", "token", []),
        ("127.0.0.1:6379", None, []),
        ("'[::1]:6379'", None, []),
        ("10.0.0.1:6379", None, ["TR554"]),
        ("head:6379", None, ["TR554"]),
        ("ray://10.0.0.1:10001", None, ["TR554"]),
        ("local", "disabled", ["TR554"]),
    ],
)
def test_a_ray_without_authentication_is_found(
    run: Run, monkeypatch: pytest.MonkeyPatch, address: str, mode: str | None, expected: list[str]
) -> None:
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert codes(found(run, f"{ADDRESS}={address}")) == expected
    if address == "head:6379":
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert codes(found(run, f"{ADDRESS}=null")) == expected


@pytest.mark.parametrize(
    ("dashboard", "mode", "expected"),
    [("127.0.0.1", "disabled", "warning"), ("0.0.0.0", "disabled", "error"), ("0.0.0.0", "token", None)],
)
def test_a_dashboard_for_everybody_without_a_token_stops_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, dashboard: str, mode: str, expected: str | None
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    severities = [str(one.severity) for one in found(run, f"ray_kwargs.ray_init.dashboard_host={dashboard}")]
    assert severities == ([expected] if expected else [])


def test_a_token_that_others_can_read_is_found(
    run: Run, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = clean / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("canary")
    token.chmod(0o644)
    # pytest's own folders are closed to others, so that only the file's mode is not what decides.
    assert found(run) == []
    monkeypatch.setattr(security.stat, "S_IXOTH", 0o100)
    (one,) = found(run)
    assert one.code == "TR555"
    assert "canary" not in str(one)
    token.chmod(0o600)
    assert found(run) == []


def test_code_from_the_models_repository_is_named_when_it_is_on(run: Run) -> None:
    keys = ("actor_rollout_ref.model.trust_remote_code", "data.trust_remote_code")
    (one,) = found(run, *(f"{key}=true" for key in keys))
    assert one.code == "TR556"
    assert all(key in one.message for key in keys)
