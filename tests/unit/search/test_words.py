"""BM25's words: what is one, and what is the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.words import raw_words, singular, stemmer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Vitamin C, 1990s", ["vitamin", "c", "1990s"]),
        ("Bob Dylan's songs", ["bob", "dylan", "songs"]),
        ("Bob Dylan’s songs", ["bob", "dylan", "songs"]),
        ("boss's s-bahn", ["boss", "s", "bahn"]),
        ("snake_case New_York", ["snake", "case", "new", "york"]),
        ("Beyoncé ÉCOLE Ångström", ["beyonce", "ecole", "angstrom"]),
        ("Ｔｏｋｙｏ ﬁre", ["tokyo", "fire"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("Москва 東京", ["москва", "東京"]),
        ("...!?", []),
        ("", []),
    ],
)
def test_words_have_no_case_accent_or_possessive(text: str, words: list[str]) -> None:
    assert raw_words(text) == words


def test_composed_and_decomposed_letters_are_the_same_word() -> None:
    assert raw_words("caf\u00e9") == raw_words("cafe\u0301") == ["cafe"]


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("cities", "city"), ("songs", "song"), ("horses", "horse"), ("1990s", "1990"),
        ("glass", "glass"), ("virus", "virus"), ("shoes", "shoes"), ("his", "his"), ("trees", "trees"), ("cat", "cat"),
    ],
)  # fmt: skip
def test_plural_endings_follow_harman(word: str, stem: str) -> None:
    assert singular(word) == stem


@given(st.text())
def test_words_of_words_are_the_same(text: str) -> None:
    assert raw_words(" ".join(raw_words(text))) == raw_words(text)


def test_an_unknown_stemmer_is_refused() -> None:
    with pytest.raises(InputError, match="--stem porter: has to be one of none, plural"):
        stemmer("porter")
