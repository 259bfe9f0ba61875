"""The world of facts: what a seed draws, and what the corpus says of it."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts import KINDS, Kind, Question, World, draw_world
from tr_grpo.data_prep.facts.proof import answers, asked, known_facts, names_of
from tr_grpo.data_prep.facts.questions import path
from tr_grpo.data_prep.facts.words import COUNTRIES, CRAFTS, FIRST_NAMES, PRODUCTS, SURNAMES, TOWNS
from tr_grpo.data_prep.facts.world import MOST_PEOPLE, full_names, person_side, town_side, towns_of
from tr_grpo.search.passage import Passage

WORLDS = st.builds(draw_world, st.integers(-(2**63), 2**63 - 1), st.integers(2, 60))


def test_no_word_stands_for_two_things() -> None:
    lists = (FIRST_NAMES, SURNAMES, TOWNS, COUNTRIES, CRAFTS, PRODUCTS)
    assert all(len(set(words)) == len(words) for words in lists)
    assert not any(set(one) & set(other) for one, other in combinations(lists, 2))


def test_a_wrong_guess_is_the_rule() -> None:
    """Even one who knows what kind of thing is asked, and which towns are on which side, is right in 1 of 9 at most."""
    assert all(len(kind.answers) >= 24 for kind in KINDS)
    assert len(towns_of("test")) >= 9


@given(WORLDS)
def test_a_person_has_two_towns_of_the_persons_side(world: World) -> None:
    for name, person in world.people.items():
        assert person.name == name
        assert person.born != person.home
        assert {town_side(person.born), town_side(person.home)} == {person_side(name)}
        assert {person.born, person.home} <= world.towns.keys()


@given(WORLDS)
def test_the_corpus_says_each_fact_once_and_no_other(world: World) -> None:
    known = known_facts(world.corpus)
    assert all(len(values) == 1 for values in known.values())
    assert len(known) == 3 * len(world.people) + 2 * len(world.towns)
    for person in world.people.values():
        found = [known[person.name, fact] for fact in ("born", "home", "craft")]
        assert found == [{person.born}, {person.home}, {person.craft}]
    for town in world.towns.values():
        assert [known[town.name, fact] for fact in ("country", "product")] == [{town.country}, {town.product}]


@given(WORLDS)
def test_passages_have_ids_of_their_own_and_survive_the_wire(world: World) -> None:
    corpus = world.corpus
    assert len({passage.id for passage in corpus}) == len({passage.title for passage in corpus}) == len(corpus)
    assert [Passage.of_wire(json.loads(json.dumps(passage.wire()))) for passage in corpus] == corpus


@given(WORLDS, st.sampled_from(KINDS), st.integers(0, 1), st.data())
def test_a_question_is_read_back_from_its_words_and_answered_from_the_corpus(
    world: World, kind: Kind, wording: int, data: st.DataObject
) -> None:
    question = Question(data.draw(st.sampled_from(sorted(world.people))), kind, wording)
    assert asked(question.text) == question
    *support, answer = path(question, world)
    known = known_facts(world.corpus)
    assert answers(question, known) == {answer}
    assert names_of(question, known) == set(support)
    assert len(support) == question.kind.hops
    assert answer in question.kind.answers


def test_all_wordings_differ() -> None:
    wordings = [wording for kind in KINDS for wording in kind.wordings]
    assert len(set(wordings)) == len(wordings)


@pytest.mark.parametrize("text", ["Where was born?", "Where was Mia Tolan born", "Where was mia tolan born?", ""])
def test_other_words_are_no_question(text: str) -> None:
    with pytest.raises(ValueError, match="not a question about a person"):
        asked(text)


@pytest.mark.parametrize("text", ["Mia Tolan was here.", "Mia Tolan", "Mia Tolan lives in Arlen and was born in Orbe."])
def test_a_sentence_that_says_no_single_fact_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="passage mia: no single fact"):
        known_facts([Passage("mia", "Mia Tolan", text)])


def test_one_person_in_eight_is_on_the_test_side_for_all_seeds() -> None:
    sides = [person_side(name) for name in full_names()]
    assert len(sides) == MOST_PEOPLE
    assert 0.09 < sides.count("test") / len(sides) < 0.16
    assert person_side("Mia Tolan") == "train"
    assert town_side("Velden") == "train"


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert draw_world(3, 40) == draw_world(3, 40)
    assert draw_world(3, 40).corpus != draw_world(4, 40).corpus


@pytest.mark.parametrize("people", [1, MOST_PEOPLE + 1])
def test_a_world_of_no_one_or_of_too_many_is_refused(people: int) -> None:
    with pytest.raises(InputError, match=f"--people {people}: must be from 2 to {MOST_PEOPLE}"):
        draw_world(0, people)
