"""The ``search`` section of a config."""

import pytest

from tr_grpo.search.settings import SearchSettings

URL = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (None, r"search\.url is not set"),
        ({"url": None}, r"search\.url is not set"),
        ({"url": []}, r"search\.url is not set"),
        ({"url": "127.0.0.1:8000"}, "http://"),
        ({"url": [URL, "ftp://a"]}, "ftp://a"),
        ({"url": URL, "topk": 3}, r"search\.topk is no setting; known are url, top_k"),
        ({"url": URL, "top_k": 0}, r"search\.top_k=0"),
        ({"url": URL, "top_k": True}, r"search\.top_k=True"),
        ({"url": URL, "max_turns": 1.5}, r"search\.max_turns=1\.5"),
        ({"url": URL, "max_turn_tokens": 0}, r"search\.max_turn_tokens=0"),
        ({"url": URL, "timeout_s": 0}, r"search\.timeout_s=0"),
        ({"url": URL, "timeout_s": 10, "deadline_s": 5}, r"search\.deadline_s=5"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(section: dict | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SearchSettings.read(section)


def test_one_server_or_several() -> None:
    assert SearchSettings.read({"url": URL, "max_failure_share": 0.1}).urls == (f"{URL}/retrieve",)
    assert SearchSettings.read({"url": [URL, "https://b/retrieve"]}).urls == (f"{URL}/retrieve", "https://b/retrieve")


def test_an_empty_token_file_is_refused(tmp_path) -> None:
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(ValueError, match="is empty"):
        SearchSettings(URL, token_file=str(tmp_path / "token")).headers()
    with pytest.raises(OSError, match="gone"):
        SearchSettings(URL, token_file=str(tmp_path / "gone")).headers()
