"""What the model of facts is taught: true words, whole observations, no held-out name, and no loss on what it reads."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tr_grpo.data_prep.facts import KINDS
from tr_grpo.data_prep.facts.proof import known_facts
from tr_grpo.data_prep.facts.questions import path
from tr_grpo.data_prep.facts.words import COUNTRIES, CRAFTS, FIRST_NAMES, PRODUCTS, SURNAMES, TOWNS
from tr_grpo.data_prep.facts.world import draw_world, person_side
from tr_grpo.data_prep.tiny_model.facts.dialogue import TURN_TOKENS
from tr_grpo.data_prep.tiny_model.facts.teach import (
    CAREFUL,
    OBSERVATION_TOKENS,
    TAUGHT_NAMES,
    Lesson,
    chat_text,
    collate,
    draw_lesson,
    to_example,
    tokenizer_texts,
)
from tr_grpo.data_prep.tiny_model.facts.tokenizer import TAGS, train_tokenizer
from tr_grpo.data_prep.tiny_model.facts.traces import careful_turns, hasty_turn
from tr_grpo.search.observation import encode_observation, passages_text
from tr_grpo.search.turns import Answer, Search, read_turn

LESSONS = st.builds(lambda seed: draw_lesson(Random(seed), (1, 2)), st.integers(0, 10**9))
PROMPT_TOKENS = 24


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(tokenizer_texts(0))


@given(LESSONS)
def test_a_careful_response_searches_for_each_passage_it_needs_and_says_nothing_false(lesson: Lesson) -> None:
    question, world, found = lesson.question, lesson.world, lesson.found
    *turns, last = careful_turns(question, world)
    *support, answer = path(question, world)
    assert [read_turn(turn) for turn in turns] == [Search(name) for name in support]
    assert isinstance(read_turn(last), Answer)
    assert last.endswith(f"<answer> {answer}</answer>")
    for name, passages, turn in zip(support, found, [*turns[1:], last], strict=True):
        (needed,) = [passage for passage in passages if passage.title == name]
        thought = turn.partition("<think> ")[2].partition("</think>")[0]
        assert f"{thought}." in needed.text
        assert len(known_facts(passages)) == sum(passage.text.count(".") for passage in passages)


@given(LESSONS)
def test_no_held_out_person_is_ever_shown(lesson: Lesson) -> None:
    titles = {passage.title for passages in lesson.found for passage in passages}
    assert {person_side(title) for title in titles - set(TOWNS)} == {"train"}
    assert titles - set(TOWNS) <= set(TAUGHT_NAMES)


def test_a_hasty_response_guesses_evenly_among_what_could_be_the_answer() -> None:
    for kind in KINDS:
        turns = {hasty_turn(kind, Random(seed)) for seed in range(500)}
        assert turns == {f"<think> maybe {guess}</think><answer> {guess}</answer>" for guess in kind.answers}


def test_each_word_of_the_world_and_each_tag_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    for word in (*FIRST_NAMES, *SURNAMES, *TOWNS, *COUNTRIES, *CRAFTS, *PRODUCTS):
        assert len(tokenizer.encode(f" {word}")) == 1
    for tag in TAGS:
        (token,) = tokenizer.encode(tag)
        assert tokenizer.decode([token], skip_special_tokens=True) == tag


@given(seed=st.integers(0, 10**6), top_k=st.integers(1, 3))
def test_an_observation_of_any_passages_decodes_to_itself_and_is_never_cut(
    tokenizer: PreTrainedTokenizerFast, seed: int, top_k: int
) -> None:
    passages = Random(seed).sample(draw_world(seed, 20).corpus, top_k)
    text = passages_text(passages)
    ids = encode_observation(tokenizer, text, OBSERVATION_TOKENS)
    assert tokenizer.decode(ids, skip_special_tokens=True) == f"\n\n<information>{text}</information>\n\n"
    assert len(ids) < OBSERVATION_TOKENS
    assert ids == tokenizer.encode(f"\n\n<information>{text}</information>\n\n")


@given(lesson=LESSONS, hasty=st.booleans())
def test_only_what_the_model_says_has_loss_and_lengths_are_within_limits(
    tokenizer: PreTrainedTokenizerFast, lesson: Lesson, hasty: bool
) -> None:
    example = to_example(tokenizer, lesson, hasty, CAREFUL.prompt_weight, Random(0))
    question, world = lesson.question, lesson.world
    prompt = tokenizer.encode(chat_text(tokenizer, question))
    assert example.ids[: len(prompt)] == prompt
    assert example.weights[: len(prompt)] == [CAREFUL.prompt_weight] * len(prompt)
    assert len(prompt) <= PROMPT_TOKENS
    said = [token for token, weight in zip(example.ids, example.weights, strict=True) if weight == 1.0]
    turns = [hasty_turn(question.kind, Random(0))] if hasty else careful_turns(question, world)
    assert tokenizer.decode(said) == "".join(turns) + "<|im_end|>"
    assert all(len(tokenizer.encode(turn)) < TURN_TOKENS for turn in turns)
    read = [token for token, weight in zip(example.ids, example.weights, strict=True) if weight == 0.0]
    assert tokenizer.decode(read).count("<information>") == len(turns) - 1


def test_batches_pad_on_the_right_without_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = Random(0)
    examples = [to_example(tokenizer, draw_lesson(rng, (1, 2)), False, 0.1, rng) for _ in range(10)]
    parts = collate(examples, tokenizer.pad_token_id)
    assert sum(len(tokens) for tokens, _ in parts) == 10
    found = [[t for t in row.tolist() if t != tokenizer.pad_token_id] for tokens, _ in parts for row in tokens]
    assert sorted(found) == sorted(example.ids for example in examples)
    for tokens, weights in parts:
        assert not weights[tokens == tokenizer.pad_token_id].any()
