"""When two answers are the same: closed cases, properties, and agreement with Search-R1's own rule."""

import random
import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verl.utils.reward_score import search_r1_like_qa_em as verls

from tr_grpo.reward.search_qa.matching import cover, exact, f1, grades, key, normalise, occurs

WORDS = (
    "the",
    "a",
    "an",
    "A",
    "The",
    "Paris",
    "paris",
    "u.s.",
    "U.S",
    "yes",
    "no",
    "1972",
    "10",
    "Zürich",
    "東京",
    "naïve",
)
PHRASES = st.lists(st.sampled_from((*WORDS, "-", "…", "'s", "\u00a0", "\n")), max_size=6).map(" ".join) | st.text(
    max_size=20
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("U.S.", "us"),
        ("an apple a day", "apple day"),
        ("Theatre", "theatre"),
        ("A-ha", "aha"),
        ("1,000", "1000"),
        ("Zürich", "zürich"),
        ("1914–18", "1914–18"),
        ("“Paris”", "“paris”"),
        ("東京。", "東京。"),
        ("İstanbul", "i̇stanbul"),
        ("the", ""),
        ("!!!", ""),
        ("", ""),
    ],
)
def test_the_normal_form_is_squads(text: str, form: str) -> None:
    assert normalise(text) == form


def test_what_is_articles_or_punctuation_alone_equals_nothing_but_itself() -> None:
    """Search-R1 calls all of these equal, and contained in any answer."""
    assert exact("A", "a") == exact("!!!", " !!! ") == 1.0
    assert exact("the", "A") == exact("!", "?") == exact("", "the") == 0.0
    assert cover("Paris", "The") == f1("an", "A") == 0.0


@pytest.mark.parametrize(
    ("answer", "alias", "value"),
    [
        ("Paris France", "Paris", 2 / 3),
        ("Paris", "Paris France", 2 / 3),
        ("France Paris", "Paris France", 1.0),
        ("the cat sat", "a cat ran", 0.5),
        ("paris paris", "paris", 2 / 3),
        ("Lyon", "Paris", 0.0),
        # HotpotQA: a yes or no inside a longer answer earns nothing.
        ("yes", "yes", 1.0),
        ("yes it is", "yes", 0.0),
        ("no", "no idea", 0.0),
        ("noanswer", "noanswer here", 0.0),
        ("not yes now", "yes sir", 0.4),
    ],
)
def test_f1_in_closed_form(answer: str, alias: str, value: float) -> None:
    assert f1(answer, alias) == pytest.approx(value)


def test_the_best_alias_counts() -> None:
    assert grades("Paris France", ["Lyon", "Paris", "the Paris, France"]) == {"em": 1.0, "f1": 1.0, "cover": 1.0}


def test_occurrence_is_of_whole_words() -> None:
    assert occurs(["New York"], 'in "New York", N.Y.')
    assert not occurs(["York"], "Yorkshire")
    assert not occurs(["The"], "the end"), "an alias without words is nowhere"
    assert occurs(["nowhere", "end"], "The end.")


@given(PHRASES)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(PHRASES, PHRASES)
def test_exact_match_is_symmetric_and_blind_to_case_articles_and_ascii_punctuation(one: str, two: str) -> None:
    assert exact(one, two) == exact(two, one)
    if normalise(one):
        assert exact(f"The {one}!", one) == 1.0
        assert exact(one.lower(), one) == 1.0


@given(PHRASES, PHRASES)
def test_f1_is_one_for_the_same_bag_of_words_alone(one: str, two: str) -> None:
    value = f1(one, two)
    assert 0.0 <= value <= 1.0
    assert value == f1(two, one)
    same_bag = Counter(key(one).split()) == Counter(key(two).split()) and bool(key(one))
    closed = {key(one), key(two)} & {"yes", "no", "noanswer"}
    if not closed:
        assert (value == 1.0) == same_bag


@given(PHRASES, PHRASES)
def test_what_matches_exactly_is_covered_and_shares_all_words(one: str, two: str) -> None:
    if key(one) and exact(one, two):
        assert cover(one, two) == f1(one, two) == 1.0


def search_r1_form(text: str) -> str:
    """The normal form of Search-R1's ``qa_em.py`` (SQuAD's evaluation script), written anew."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(?:the|an|a)\b", " ", kept).split())


def generated_pairs(count: int) -> list[tuple[str, str]]:
    """Pairs that agree often: the second is the first with other case, articles and punctuation, or a word changed."""
    rng = random.Random(0)
    pairs = []
    for _ in range(count):
        words = rng.choices(WORDS, k=rng.randint(1, 4))
        others = [rng.choice((word, word.upper(), f"the {word}", f"{word}.", f"“{word}”")) for word in words]
        if rng.random() < 0.3:
            others[rng.randrange(len(others))] = rng.choice(WORDS)
        pairs.append((" ".join(words), rng.choice((" ", ", ", " - ")).join(others)))
    return pairs


def test_a_thousand_pairs_agree_with_search_r1() -> None:
    """Wherever something is left of both; the rest is this package's stated difference."""
    pairs = [(one, two) for one, two in generated_pairs(1_200) if search_r1_form(one) and search_r1_form(two)]
    assert len(pairs) >= 1_000
    matched = [exact(one, two) for one, two in pairs]
    assert matched == [float(search_r1_form(one) == search_r1_form(two)) for one, two in pairs]
    assert matched == [float(verls.em_check(one, two)) for one, two in pairs]
    assert [cover(one, two) for one, two in pairs] == [float(verls.subem_check(one, two)) for one, two in pairs]
    assert 0.2 < sum(matched) / len(pairs) < 0.9, "the pairs must be of both kinds"
