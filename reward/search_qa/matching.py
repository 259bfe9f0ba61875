"""When two answers are the same: exact match, token F1 and cover, as Search-R1 and HotpotQA count them.

The normal form is SQuAD's: lower case, no ASCII punctuation, no articles, single spaces. Unicode is left as it is:
``Zürich`` is not ``Zurich``, and ``1914–18`` keeps its dash. Where nothing is left of an answer (``A``, ``!!!``),
Search-R1 calls it equal to every other such answer, and contained in any; here it is compared by its letters.

Sources: ``verl/utils/reward_score/qa_em.py`` of Search-R1 (em, subem), ``hotpot_evaluate_v1.py`` of HotpotQA (F1).
"""

import re
import string
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = frozenset(("yes", "no", "noanswer"))
"""HotpotQA: these share no credit with a longer answer that happens to contain the word."""


def normalise(text: str) -> str:
    """SQuAD's normal form; may be empty."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


@lru_cache(maxsize=4096)
def _form(text: str) -> str:
    """The normal form of an answer or alias: each is compared several times, and an alias with every sample."""
    return normalise(text)


def key(text: str) -> str:
    """What is compared: the normal form, or where that is empty the text in lower case; empty for blank text alone."""
    return _form(text) or " ".join(text.lower().split())


def exact(answer: str, alias: str) -> float:
    """1 if the two are the same, else 0."""
    return float(key(answer) == key(alias))


def cover(answer: str, alias: str) -> float:
    """1 if the answer contains the alias, character by character as Search-R1's ``subem``, else 0."""
    wanted = _form(alias)
    return float(wanted in _form(answer)) if wanted else exact(answer, alias)


def f1(answer: str, alias: str) -> float:
    """Harmonic mean of precision and recall over the words of both, counted with their repeats."""
    ours, theirs = key(answer), key(alias)
    if ours != theirs and (ours in _CLOSED or theirs in _CLOSED):
        return 0.0
    words, wanted = Counter(ours.split()), Counter(theirs.split())
    shared = (words & wanted).total()
    return 2 * shared / (words.total() + wanted.total()) if shared else 0.0


MEASURES = {"em": exact, "f1": f1, "cover": cover}


def grades(answer: str, aliases: Iterable[str]) -> dict[str, float]:
    """By measure: the best that the answer earns with any of ``aliases``."""
    aliases = tuple(aliases)
    return {name: max(measure(answer, alias) for alias in aliases) for name, measure in MEASURES.items()}


def occurs(aliases: Iterable[str], text: str) -> bool:
    """Whether one of ``aliases`` stands in ``text`` in whole words, both normalised: ``10`` is not in ``2010``."""
    words = f" {normalise(text)} "
    return any(f" {wanted} " in words for wanted in map(normalise, aliases) if wanted)
