"""Text as BM25 sees it: words without case, accents, stop words and plural endings. Index and query use the same.

A word is a run of letters and digits, single ones included ("Vitamin C"). A possessive 's is dropped. The stop words
are bm25s's English list, which is Lucene's. Languages that write no spaces need another retriever: dense.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from bm25s.stopwords import STOPWORDS_EN

from tr_grpo.data_prep.errors import InputError

_MARKS = re.compile(r"[\u0300-\u036f]+")  # accents, once NFKD has taken them off their letters
_WORD = re.compile(r"(?!(?<=[^\W_]['’])s\b)[^\W_]+")


def plain(text: str) -> str:
    """``text`` without case and accents, in the compatible form (full-width letters, ligatures) of Unicode."""
    if text.isascii():
        return text.lower()
    return _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold()


def raw_words(text: str) -> list[str]:
    """The words of ``text`` in order, stop words and endings still there."""
    return _WORD.findall(plain(text))


def singular(word: str) -> str:
    """The word without an English plural ending: Harman's S-stemmer (JASIS 42, 1991), for words of four letters on."""
    if len(word) < 4 or word[-1] != "s":
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else word[:-3] + "y"
    if word.endswith("es"):
        return word if word.endswith(("aes", "ees", "oes")) else word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]


def unchanged(word: str) -> str:
    """The word itself."""
    return word


STEMMERS: dict[str, Callable[[str], str]] = {"none": unchanged, "plural": singular}
STOP_WORDS = frozenset(STOPWORDS_EN)


def stemmer(name: str) -> Callable[[str], str]:
    """The stemmer of this name; InputError for an unknown one."""
    if name not in STEMMERS:
        raise InputError(f"--stem {name}: has to be one of {', '.join(STEMMERS)}")
    return STEMMERS[name]
