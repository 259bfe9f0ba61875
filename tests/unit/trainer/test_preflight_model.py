"""Preflight of the model folder: whole weights, a tokenizer that belongs to them, a turn's end at which vLLM stops."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from findings import Run, codes

from tr_grpo.trainer.preflight import model, weights
from tr_grpo.trainer.preflight.finding import Finding

Change = Callable[[Path], object]


@pytest.fixture
def folder(files: Path, tmp_path: Path) -> Path:
    """A copy of the healthy model, to be spoilt."""
    return Path(shutil.copytree(files / "model", tmp_path / "model"))


@pytest.fixture
def found(run: Run, folder: Path) -> Callable[..., list[Finding]]:
    return lambda *overrides: list(model.check(run(f"actor_rollout_ref.model.path={folder}", *overrides)))


def settings(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_whole_folder_has_no_finding(found: Callable[..., list[Finding]]) -> None:
    assert found() == []


def test_a_fix_for_the_projects_own_model_is_a_whole_command(run: Run, tmp_path: Path) -> None:
    (finding,) = model.check(run("llm=tiny_facts", f"actor_rollout_ref.model.path={tmp_path}/none"))
    assert finding.fix == f"run `tr-grpo prep tiny-model --task facts --out {tmp_path}/none`"


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda at: (at / "model.safetensors").unlink(), "no weights"),
        (lambda at: cut(at / "model.safetensors", 5), "cut short"),
        (lambda at: cut(at / "model.safetensors", 100), "cut short"),
        (lambda at: cut(at / "model.safetensors", (at / "model.safetensors").stat().st_size - 1), "cut short"),
        (
            lambda at: (at / "model.safetensors").write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:0"
            ),
            "git-lfs pointer",
        ),
        (
            lambda at: (at / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}'
            ),
            "1 are missing, first model-00002-of-00002.safetensors",
        ),
    ],
)
def test_weights_that_are_not_whole_are_found(
    found: Callable[..., list[Finding]], folder: Path, spoil: Change, words: str
) -> None:
    spoil(folder)
    (finding,) = found()
    assert finding.code == "TR606"
    assert words in finding.message


def test_parameters_are_counted_from_the_headers(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    assert weights.parameters(str(folder)) == sum(torch.numel(tensor) for tensor in tensors.values())
    assert weights.parameters("Qwen/Qwen2.5-3B") is None
    (folder / "model.safetensors").unlink()
    assert weights.parameters(str(folder)) is None


def test_a_turn_that_ends_where_generation_does_not_is_found(found: Callable[..., list[Finding]], folder: Path) -> None:
    """As a base model with ChatML: the template's end of turn is not the end of text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    others = [token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token]
    assert others
    template = "{% for m in messages %}{{ m['content'] }}" + others[0] + "\n{% endfor %}"
    custom = f"actor_rollout_ref.model.custom_chat_template={json.dumps(template)}"
    (finding,) = found(custom)
    assert finding.code == "TR607"
    assert others[0] in finding.message
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(others[0])]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    assert found(custom) == []


def test_a_plain_template_ends_with_no_special_token(found: Callable[..., list[Finding]]) -> None:
    assert found("actor_rollout_ref.model.custom_chat_template=\"{{ messages[-1]['content'] }}\"") == []


def test_a_tokenizer_of_another_model_is_found(found: Callable[..., list[Finding]], folder: Path) -> None:
    settings(folder, vocab_size=10)
    assert codes(found()) == ["TR608"]


def test_a_model_type_that_transformers_does_not_know_is_found(
    found: Callable[..., list[Finding]], folder: Path
) -> None:
    settings(folder, model_type="not_yet")
    (finding,) = [one for one in found() if one.code == "TR609"]
    assert "trust_remote_code" not in finding.fix
    settings(folder, model_type="not_yet", auto_map={"AutoModel": "x.Y"})
    (finding,) = [one for one in found() if one.code == "TR609"]
    assert "trust_remote_code=true" in finding.fix
    assert "TR609" not in codes(found("actor_rollout_ref.model.trust_remote_code=true"))


def test_heads_that_cannot_be_shared_are_found(found: Callable[..., list[Finding]], folder: Path) -> None:
    heads = json.loads((folder / "config.json").read_text())["num_attention_heads"]
    assert codes(found(f"actor_rollout_ref.rollout.tensor_model_parallel_size={heads}")) == []
    assert codes(found(f"actor_rollout_ref.rollout.tensor_model_parallel_size={heads + 1}")) == ["TR610"]
    assert codes(found(f"actor_rollout_ref.actor.ulysses_sequence_parallel_size={heads + 1}")) == ["TR610"]


def test_a_tokenizer_without_a_padding_token_is_found(found: Callable[..., list[Finding]], folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": None}))
    assert codes(found()) == ["TR604"]


def test_a_hub_name_offline_is_to_be_in_the_cache(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    config = run("llm=qwen2_5_3b_instruct", "actor_rollout_ref.model.path=Nobody/Nothing-3B")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert codes(list(model.check(config))) == ["TR611"]
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(tmp_path / file))
    assert codes(list(model.check(config))) == []
    monkeypatch.undo()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert codes(list(model.check(config))) == []
