"""What MODEL means, and one clear line for everything that is no model."""

from pathlib import Path

import pytest

from tr_grpo.analysis.evaluate.checkpoint import Model, find_model
from tr_grpo.data_prep.errors import InputError


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_text("weights")
    return path


def run_folder(path: Path, *steps: int, latest: int | None = None) -> Path:
    """A run whose checkpoints were merged before."""
    for step in steps:
        model_folder(path / f"global_step_{step}" / "merged")
        (path / f"global_step_{step}" / "actor").mkdir()
    (path / "latest_checkpointed_iteration.txt").write_text(str(latest if latest is not None else max(steps)))
    (path / "config.yaml").write_text("{}")
    return path


def test_a_model_folder_is_itself(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    assert find_model(str(folder)) == Model(str(folder), None)


def test_a_name_with_one_slash_is_the_hubs_unless_it_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model("Qwen/Qwen2.5-3B") == Model("Qwen/Qwen2.5-3B", None)
    monkeypatch.chdir(tmp_path)
    folder = model_folder(tmp_path / "Qwen" / "Qwen2.5-3B")
    assert find_model("Qwen/Qwen2.5-3B").path == str(folder)


def test_a_run_is_its_latest_checkpoint_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", 5, 10)
    latest = Model(str(run / "global_step_10" / "merged"), run / "config.yaml")
    assert find_model(str(run)) == latest
    assert find_model(str(run), 5).path == str(run / "global_step_5" / "merged")
    assert find_model(str(run / "global_step_10")) == latest
    assert find_model(str(run / "global_step_10" / "actor")) == latest
    assert find_model(str(run / "global_step_10" / "merged")) == latest


@pytest.mark.parametrize(
    ("name", "step", "words"),
    [
        ("gone", None, "no such folder"),
        ("./some/where", None, "no such folder"),
        ("empty", None, "no config.json"),
        ("half", None, "config.json without weights"),
        ("run", 7, "no such checkpoint; there are 5, 10"),
        ("run/global_step_5", 5, "leave --step out"),
        ("Qwen/Qwen2.5-3B", 5, "leave --step out"),
        ("bare/global_step_1", None, "no FSDP shards"),
        ("odd", None, "no step there"),
    ],
)
def test_what_is_no_model_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: int | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    (tmp_path / "bare" / "global_step_1" / "actor").mkdir(parents=True)
    run_folder(tmp_path / "run", 5, 10)
    run_folder(tmp_path / "odd", 5)
    (tmp_path / "odd" / "latest_checkpointed_iteration.txt").write_text("")
    with pytest.raises(InputError, match=words) as caught:
        find_model(name, step)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_is_of_the_files_contents(tmp_path: Path) -> None:
    one, other = model_folder(tmp_path / "one"), model_folder(tmp_path / "other")
    assert Model(str(one), None).fingerprint == Model(str(other), None).fingerprint
    (other / "model.safetensors").write_text("Weights")
    assert Model(str(one), None).fingerprint != Model(str(other), None).fingerprint
