"""The model of facts: its build, the dialogue it leads, and the shipped copy.

Proves that the shipped files work and are what their manifest says; not that the stages are well chosen.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from tr_grpo.data_prep.cli import app
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts import FactsConfig, build_facts
from tr_grpo.data_prep.facts.dataset import schema
from tr_grpo.data_prep.facts.proof import answers
from tr_grpo.data_prep.schema import read_rows, write_rows
from tr_grpo.data_prep.storage import sha256
from tr_grpo.data_prep.tiny_model.facts.build import BuildConfig, Data, build, read_data
from tr_grpo.data_prep.tiny_model.facts.dialogue import MOST_SEARCHES, converse
from tr_grpo.data_prep.tiny_model.facts.evaluate import evaluate, given_answer
from tr_grpo.data_prep.tiny_model.facts.teach import OBSERVATION_TOKENS, chat_text
from tr_grpo.data_prep.tiny_model.files import SHIPPED_FACTS, TENSORS, copy_shipped, pack, read_manifest
from tr_grpo.data_prep.tiny_model.supervised import Stage

SHORT = Stage("careful", steps=2, lr=2e-3, final_lr=1e-3, batch=8, warmup=2)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped model, made once for all tests."""
    out = tmp_path_factory.mktemp("model") / "tiny"
    assert copy_shipped(out, SHIPPED_FACTS)
    return out


@pytest.fixture(scope="module")
def tokenizer(shipped: Path) -> PreTrainedTokenizerFast:
    """As verl and vLLM load it."""
    loaded: Any = AutoTokenizer.from_pretrained(shipped)
    return loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that the manifest names: those of the defaults."""
    out = tmp_path_factory.mktemp("facts") / "data"
    build_facts(FactsConfig(out))
    return out


@pytest.fixture(scope="module")
def data(folder: Path) -> Data:
    return read_data(folder)


def test_the_manifests_data_are_those_of_the_defaults(shipped: Path, folder: Path) -> None:
    (described,) = read_manifest(shipped)["data"]
    for split in ("train", "test"):
        assert described[split]["sha256"] == sha256(folder / f"{split}.parquet")
    assert described["corpus.jsonl"]["sha256"] == sha256(folder / "corpus.jsonl")


def test_the_manifests_accuracy_is_found_again(shipped: Path, tokenizer: PreTrainedTokenizerFast, data: Data) -> None:
    model = AutoModelForCausalLM.from_pretrained(shipped)
    assert model.dtype == torch.float32
    claimed = read_manifest(shipped)["held_out_greedy"]
    for hops, accuracy in evaluate(model, tokenizer, data.test, data.known, data.find).items():
        found = dataclasses.asdict(accuracy)
        # Another processor may round otherwise: a question or two may tip over.
        assert found == pytest.approx(claimed[str(hops)], abs=0.03)


def test_the_shipped_model_seldom_searches_but_is_right_when_it_does(
    shipped: Path, tokenizer: PreTrainedTokenizerFast, data: Data
) -> None:
    model = AutoModelForCausalLM.from_pretrained(shipped)
    found = evaluate(model, tokenizer, data.test[:50], data.known, data.find, samples=4, temperature=1.0)
    for accuracy in found.values():
        assert 0.12 <= accuracy.searching <= 0.45
        assert accuracy.format_ok >= 0.95
        assert accuracy.searching_right >= 0.75 * accuracy.searching
        guessed = (accuracy.right - accuracy.searching_right) / (1 - accuracy.searching)
        assert guessed <= 0.15  # no answer is in the weights: a guess is right in 1 of 24 or 48


def test_a_dialogue_joins_turns_and_observations_as_they_are(
    shipped: Path, tokenizer: PreTrainedTokenizerFast, data: Data
) -> None:
    """Sampled until it searches: its tokens are those of the prompt, its turns and what it read."""
    model = AutoModelForCausalLM.from_pretrained(shipped)
    question = next(question for question in data.test if question.kind.hops == 2)
    prompt = chat_text(tokenizer, question)
    dialogues = converse(model, tokenizer, [prompt] * 32, data.find, OBSERVATION_TOKENS, temperature=1.0)
    searching = [dialogue for dialogue in dialogues if dialogue.searches == 2]
    assert searching
    assert all(dialogue.searches <= MOST_SEARCHES for dialogue in dialogues)
    for dialogue in searching:
        text = tokenizer.decode(dialogue.ids)
        assert text.startswith(f"{prompt}{dialogue.turns[0]}\n\n<information>Doc 1")
        assert text.endswith(f"</information>\n\n{dialogue.turns[-1]}")
        assert text.count("</information>") == len(dialogue.turns) - 1 == 2
    assert any({given_answer(dialogue)} == answers(question, data.known) for dialogue in searching)


def test_build_is_reproducible_and_packs_without_loss(tmp_path: Path) -> None:
    build_facts(FactsConfig(tmp_path / "data", people=60, train=10, test=4))
    config = BuildConfig(stages=(SHORT, dataclasses.replace(SHORT, name="hasty", hasty_share=0.5)))
    for name in ("a", "b"):
        build([tmp_path / "data"], tmp_path / name, config)
    manifest = read_manifest(tmp_path / "a")
    assert manifest == read_manifest(tmp_path / "b")  # holds the sha256 of every file
    assert manifest["data"][0]["test"]["questions"] == 4
    assert manifest["held_out_greedy"].keys() == {"1", "2"}
    pack(tmp_path / "a", tmp_path / "packed")
    assert (tmp_path / "packed" / TENSORS).stat().st_size < 0.51 * (tmp_path / "a" / TENSORS).stat().st_size


def test_build_refuses_two_folders_and_data_whose_test_people_are_taught(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 folders are given"):
        build([folder, folder], tmp_path / "model")
    rows = {split: read_rows(folder / f"{split}.parquet") for split in ("train", "test")}
    for split, other in (("train", "test"), ("test", "train")):
        write_rows(tmp_path / f"{split}.parquet", rows[other], schema())
    (tmp_path / "corpus.jsonl").write_bytes((folder / "corpus.jsonl").read_bytes())
    with pytest.raises(InputError, match="people are on the train side"):
        read_data(tmp_path)


def test_the_command_copies_the_model_and_says_what_it_can_do(tmp_path: Path) -> None:
    arguments = ["tiny-model", "--task", "facts", "--out", str(tmp_path / "tiny")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "1 hops, 100 held-out questions, greedy:" in result.output
    assert "already there" in CliRunner().invoke(app, arguments).output


def test_the_package_carries_no_more_than_4_mb() -> None:
    assert sum(path.stat().st_size for path in SHIPPED_FACTS.iterdir()) < 4e6
