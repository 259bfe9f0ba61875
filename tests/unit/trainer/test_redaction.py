"""What is taken for a secret and what is not, and that nothing of one remains in what is written."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tr_grpo.trainer import redaction
from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.main import without_secrets
from tr_grpo.trainer.run_log import logged

WORDS = "canary" + "C4n4ry" * 6
FORMS = (
    f"hf_{WORDS}",
    f"sk-{WORDS}",
    f"sk-ant-api03-{WORDS}",
    f"ghp_{WORDS}",
    f"github_pat_{WORDS}_{WORDS}",
    f"glpat-{WORDS}",
    "AKIACANARYCANARYCANA",
    "AIza" + (WORDS * 2)[:35],
    f"xoxb-{WORDS}",
    f"eyJ{WORDS}.eyJ{WORDS}.{WORDS}",
    f"https://user:{WORDS}@host/path",
    f"https://host/file?token={WORDS}&x=1",
    f"Authorization: Bearer {WORDS}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{WORDS}\n-----END RSA PRIVATE KEY-----",
)


@pytest.mark.parametrize("text", FORMS)
def test_a_known_form_is_found_anywhere_and_nothing_of_it_remains(text: str) -> None:
    assert redaction.is_secret("trainer.project_name", text)
    for around in (text, f"see {text}", f"(401 for {text})" if "PRIVATE" not in text else text):
        assert WORDS not in redaction.redact(around)
        assert "CANARY" not in redaction.redact(around)
        assert redaction.REDACTED in redaction.redact(around)


@pytest.mark.parametrize(
    "key",
    [
        "WANDB_API_KEY",
        "HF_TOKEN",
        "hf.token",
        "apiKey",
        "aws_secret_access_key",
        "password",
        "db-password",
        "CREDENTIALS",
    ],
)
def test_a_value_under_the_name_of_a_secret_is_one(key: str) -> None:
    assert redaction.is_secret(key, "correct horse")
    assert redaction.redacted({"a": {key: "correct horse"}}) == {"a": {key: redaction.REDACTED}}
    assert redaction.redact_override(f"+a.{key}=correct horse") == f"+a.{key}={redaction.REDACTED}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ppo_max_token_len_per_gpu", "16384"),
        ("prompt_key", "prompt"),
        ("reward_fn_key", "data_source"),
        ("token_file", "secrets/token"),
        ("search.token", "/run/secrets/token"),
        ("api_key", "EMPTY"),
        ("eos_token", "<|im_end|>"),
        ("pad_token", "eos"),
        ("tokenizer", "Qwen/Qwen2.5-3B"),
        ("secretary", "Ada"),
        ("loss_agg_mode", "token-mean"),
        ("path", "models/task-1_5b-with-a-long-name-of-many-words"),
        ("revision", "0123456789abcdef0123456789abcdef01234567"),
        ("search.url", "http://127.0.0.1:8000/retrieve"),
        ("password", None),
        ("token", 3),
    ],
)
def test_what_only_sounds_like_a_secret_is_none(key: str, value: object) -> None:
    assert not redaction.is_secret(key, value)
    assert redaction.redacted({key: value}) == {key: value}


def test_a_key_of_wandb_is_told_by_its_forty_digits() -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    assert list(redaction.secret_keys({"a": [{"note": key}], "commit": key})) == ["a.note"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda node: st.lists(node) | st.dictionaries(st.text(), node),
    )
)
def test_what_holds_no_secret_is_unchanged_and_what_is_redacted_holds_none(node: object) -> None:
    done = redaction.redacted(node)
    assert list(redaction.secret_keys(done)) == []
    if not list(redaction.secret_keys(node)):
        assert done == node


def test_an_environments_secrets_are_replaced_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form need not be known."""
    monkeypatch.setenv("WANDB_API_KEY", "an unknown form")
    monkeypatch.setenv("MY_PASSWORD", "short")
    assert redaction.redact("401: an unknown form is refused; short") == "401: [redacted] is refused; short"
    assert redaction.of_environment(
        {"HF_TOKEN": "12345678", "LONG_TOKEN": "1234567890x", "TOKEN": "/a/path/of/one"}
    ) == ["1234567890x"]


def test_the_stored_config_and_events_hold_no_secret_and_lose_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-of-the-environment")
    overrides = [f"+trainer.api_key={WORDS}", f"+trainer.other=hf_{WORDS}", "algo=tr_grpo"]
    config = compose([*overrides, "trainer.total_training_steps=7", "+trainer.note=canary-of-the-environment"])
    kept = without_secrets(config)
    text = OmegaConf.to_yaml(kept)
    assert "canary" not in text.lower()
    plain, before = OmegaConf.to_container(kept), OmegaConf.to_container(config, resolve=True)
    for name in ("api_key", "other", "note"):
        assert plain["trainer"].pop(name) == redaction.REDACTED
        before["trainer"].pop(name)
    assert plain == before
    with pytest.raises(RuntimeError), logged(tmp_path, 0, "abcde", overrides, config, []):
        raise RuntimeError("401 for canary-of-the-environment")
    written = (tmp_path / "events.jsonl").read_text()
    assert "canary" not in written.lower()
    start, end = map(json.loads, written.splitlines())
    assert start["overrides"] == ["+trainer.api_key=[redacted]", "+trainer.other=[redacted]", "algo=tr_grpo"]
    assert end["message"] == "RuntimeError: 401 for [redacted]"
