"""The talkative tiny model: its wording is random, its logic is the terse model's; not that it is a good student."""

import dataclasses
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tr_grpo.data_prep.knights_knaves import DatasetConfig, GenerationConfig, Puzzle, build_dataset, generate
from tr_grpo.data_prep.tiny_model import copy_shipped
from tr_grpo.data_prep.tiny_model.files import read_manifest
from tr_grpo.data_prep.tiny_model.talkative import (
    RESPONSE_TOKENS,
    SYNONYMS,
    TALKATIVE,
    TalkativeConfig,
    add_words,
    build_talkative,
    talkative,
    word,
)
from tr_grpo.data_prep.tiny_model.traces import careful_trace
from tr_grpo.reward.knights_knaves import judge
from tr_grpo.reward.verdict import Verdict

PUZZLES = GenerationConfig(
    kinds=("is", "and", "or", "if", "iff"),
    names=("Mia", "Noah", "Zoey", "Liam", "Emma", "Jack", "Lucas", "Ava"),
    phrasing="plain",
    style="short",
)
MIXED: list[Puzzle] = [
    puzzle for people in (2, 3) for puzzle in islice(generate(dataclasses.replace(PUZZLES, people=people), 5), 100)
]
MEANING = {synonym: meaning for meaning, words in SYNONYMS.items() for synonym in words}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder: Path = tmp_path_factory.mktemp("model") / "tiny"
    copy_shipped(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    add_words(AutoModelForCausalLM.from_pretrained(folder), loaded, seed=0)
    return loaded


def test_no_synonym_has_two_meanings() -> None:
    assert len(MEANING) == sum(map(len, SYNONYMS.values()))


def test_a_careful_response_says_what_the_terse_one_says_and_a_hasty_one_guesses() -> None:
    rng = Random(0)
    for puzzle in MIXED:
        solution = dict(zip(puzzle.names, puzzle.solution, strict=True))
        response = talkative(puzzle, False, rng)
        assert judge(response, solution).verdict is Verdict.RIGHT
        thought, tag, answer = response.partition("</think>")
        words = [MEANING.get(w.rstrip(","), w.rstrip(",")) for w in thought.split()]
        terse = " ".join(w for w in words if w != "remark")
        assert f"{terse}{tag}{answer}" == careful_trace(puzzle).replace(",", "")
        guess = talkative(puzzle, True, rng)
        assert judge(guess, solution).format_ok
        assert MEANING[guess.split("</think>")[0].split()[1]] == "maybe"


def test_words_are_drawn_by_zipfs_law() -> None:
    rng = Random(0)
    counts = Counter(word("if", rng) for _ in range(20_000))
    total = sum(1 / n for n in range(1, 13))
    for rank, synonym in enumerate(SYNONYMS["if"], 1):
        assert counts[synonym] / 20_000 == pytest.approx(1 / rank / total, abs=0.01)


def test_each_synonym_is_one_token_and_responses_survive_decoding_and_fit(tokenizer: PreTrainedTokenizerFast) -> None:
    assert all(len(tokenizer(f" {synonym}").input_ids) == 1 for synonym in MEANING)
    rng = Random(0)
    for puzzle in MIXED:
        ids = tokenizer(text := talkative(puzzle, False, rng)).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert len(ids) + 1 <= RESPONSE_TOKENS


def test_the_build_is_reproducible(tmp_path: Path) -> None:
    data = tmp_path / "data"
    build_dataset(DatasetConfig(data, people=(2, 3), train=40, test=6, puzzles=PUZZLES))
    config = TalkativeConfig(stage=dataclasses.replace(TALKATIVE, steps=2, batch=8))
    for name in ("a", "b"):
        build_talkative([data], tmp_path / name, config)
    assert read_manifest(tmp_path / "a") == read_manifest(tmp_path / "b")  # holds the sha256 of every file
    assert read_manifest(tmp_path / "a")["vocabulary"] == 353 + 6 * 12 - 5  # five words were there before
