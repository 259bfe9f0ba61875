"""The files of ``prep facts``: answers, separation, bytes, and how well a search of words finds what is needed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tr_grpo.data_prep.cli import app
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts import FactsConfig, build_facts
from tr_grpo.data_prep.facts.dataset import CORPUS, read_corpus, schema
from tr_grpo.data_prep.facts.proof import known_facts, prove_apart, read_questions
from tr_grpo.data_prep.schema import Row, read_rows, write_rows
from tr_grpo.data_prep.storage import sha256
from tr_grpo.data_prep.tiny_model.facts.evaluate import word_search

# A reader that shares nothing with the writer: the question's words, then the sentence of the corpus.
FIRST_FACT = [("born|birthplace", "was born in"), ("live|home", "lives in"), ("craft|work", "works as a")]
SECOND_FACT = [("^In which country", "lies in"), ("^What is known", "is known for")]


def small(out: Path, **changes: object) -> FactsConfig:
    return replace(FactsConfig(out, people=120, train=80, test=40, seed=7), **changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("facts") / "data"
    build_facts(FactsConfig(out))
    return out


def read_sentence(text: str, name: str, saying: str) -> str:
    """The only value that the text gives."""
    (value,) = re.findall(rf"(?<![A-Za-z] ){name} {saying} (\w+)\.", text)
    return value


def answer(question: str, text: str) -> list[str]:
    """Every name that the answer passes through, and the answer."""
    (name,) = re.findall(r"[A-Z][a-z]+ [A-Z][a-z]+", question.removeprefix("In ").removeprefix("What "))
    (first,) = [saying for words, saying in FIRST_FACT if re.search(words, question)]
    steps = [name, read_sentence(text, name, first)]
    for words, saying in SECOND_FACT:
        if re.search(words, question):
            steps.append(read_sentence(text, steps[-1], saying))
    return steps


def rows_of(data: Path, split: str) -> list[Row]:
    return read_rows(data / f"{split}.parquet")


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_answer_is_read_from_the_corpus_by_another_reader(data: Path, split: str) -> None:
    lines = (data / CORPUS).read_text().splitlines()
    text = "\n".join(json.loads(line)["contents"].partition("\n")[2] for line in lines)
    for row in rows_of(data, split):
        *support, found = answer(row["prompt"][0]["content"], text)
        assert row["reward_model"]["ground_truth"] == {"target": [found]}
        assert row["extra_info"]["support"] == support
        assert row["extra_info"]["entity"] == support[0]
        assert row["extra_info"]["hops"] == len(support)


def test_the_sides_share_no_person_no_town_and_no_question(data: Path) -> None:
    sides = []
    for split in ("train", "test"):
        rows = rows_of(data, split)
        names = {name for row in rows for name in row["extra_info"]["support"]}
        answers = {
            row["reward_model"]["ground_truth"]["target"][0] for row in rows if "home" in row["extra_info"]["kind"]
        }
        sides.append(names | {name for name in answers if name in {p.title for p in read_corpus(data / CORPUS)}})
        assert len({(row["extra_info"]["entity"], row["extra_info"]["kind"]) for row in rows}) == len(rows)
    assert not sides[0] & sides[1]
    assert len(sides[1]) > 40


def test_rows_are_what_verl_and_the_agent_loop_read(data: Path) -> None:
    row = rows_of(data, "train")[0]
    assert row["data_source"] == "search_qa/facts"
    assert row["agent_name"] == "search_r1"
    assert [message["role"] for message in row["prompt"]] == ["user"]
    assert row["extra_info"]["index"] == 0
    assert row["extra_info"]["split"] == "train"


def test_a_search_of_words_finds_each_passage_first_by_its_title(data: Path) -> None:
    corpus = read_corpus(data / CORPUS)
    found = word_search(corpus, top_k=3)([passage.title for passage in corpus])
    assert [passages[0] for passages in found] == corpus
    assert {len(passages) for passages in found} == {3}


def test_a_search_that_matches_nothing_finds_nothing(data: Path) -> None:
    assert word_search(read_corpus(data / CORPUS))(["zebra", ""]) == [[], []]


def test_the_same_config_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (build_facts(small(tmp_path / name)) for name in "ab")
    assert first == second
    for name, entry in first["files"].items():
        assert sha256(tmp_path / "a" / name) == sha256(tmp_path / "b" / name) == entry["sha256"]
    other = build_facts(small(tmp_path / "c", seed=8))
    assert all(other["files"][name]["sha256"] != entry["sha256"] for name, entry in first["files"].items())


def test_the_manifest_counts_what_it_proved(tmp_path: Path) -> None:
    manifest = build_facts(small(tmp_path))
    assert manifest["answers"] == {"rows": 120, "in_corpus": True, "exactly_one": True, "proved": True}
    assert manifest["separation"]["shared"] == 0
    assert manifest["files"][CORPUS]["rows"] == 120 + 48
    assert sum(manifest["counts"]["test"].values()) == 40


def test_one_number_of_hops_alone_can_be_asked_for(tmp_path: Path) -> None:
    build_facts(small(tmp_path, hops=(2,)))
    assert {row["extra_info"]["hops"] for row in rows_of(tmp_path, "train")} == {2}


def test_a_finished_folder_is_left_alone_and_a_changed_corpus_is_noticed(tmp_path: Path) -> None:
    build_facts(small(tmp_path))
    before = (tmp_path / CORPUS).stat().st_mtime_ns
    build_facts(small(tmp_path))
    assert (tmp_path / CORPUS).stat().st_mtime_ns == before
    (tmp_path / CORPUS).write_text("")
    with pytest.raises(InputError, match="changed after they were written"):
        build_facts(small(tmp_path))
    build_facts(small(tmp_path, overwrite=True))
    assert (tmp_path / CORPUS).stat().st_size > 0


def test_a_wrong_answer_a_second_answer_and_other_rows_are_named(tmp_path: Path) -> None:
    build_facts(small(tmp_path))
    known = known_facts(read_corpus(tmp_path / CORPUS))
    rows = rows_of(tmp_path, "test")
    rows[3]["reward_model"]["ground_truth"]["target"] = ["Nowhere"]
    write_rows(tmp_path / "wrong.parquet", rows, schema())
    with pytest.raises(InputError, match=r"wrong\.parquet: row 3: the corpus answers .* the row \['Nowhere'\]"):
        read_questions(tmp_path / "wrong.parquet", known)
    entity = rows[0]["extra_info"]["entity"]
    for fact in ("born", "home", "craft"):
        known[entity, fact].add("Velden")
    with pytest.raises(InputError, match="row 0: the corpus answers"):
        read_questions(tmp_path / "test.parquet", known)
    rows[0]["prompt"][0]["content"] = "Who are you?"
    write_rows(tmp_path / "other.parquet", rows, schema())
    with pytest.raises(InputError, match="row 0 is no question of facts"):
        read_questions(tmp_path / "other.parquet", known)


def test_the_same_people_on_both_sides_are_refused(tmp_path: Path) -> None:
    build_facts(small(tmp_path))
    known = known_facts(read_corpus(tmp_path / CORPUS))
    questions = read_questions(tmp_path / "test.parquet", known)
    with pytest.raises(InputError, match="people or towns are in train and in test"):
        prove_apart(questions, questions, known)


def test_a_broken_line_of_the_corpus_is_named(tmp_path: Path) -> None:
    (tmp_path / CORPUS).write_text('{"id": "a", "contents": "text"}\n{"id"')
    with pytest.raises(InputError, match=r"corpus\.jsonl: line 2 is no passage"):
        read_corpus(tmp_path / CORPUS)
    with pytest.raises(InputError, match=r"none\.jsonl: cannot read"):
        read_corpus(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hops": (3,)}, r"hops: \[3\] must be"),
        ({"hops": ()}, "hops: "),
        ({"hops": (1, 1)}, "hops: "),
        ({"test": 0}, "both counts must be 1 or more"),
        ({"seed": 2**63}, "does not fit"),
        ({"people": 1}, "--people 1: must be"),
        ({"test": 2000}, "have no more questions of [12] hops"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        build_facts(small(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_the_command_takes_several_hops_and_says_what_is_proved(tmp_path: Path) -> None:
    arguments = ["facts", "--out", str(tmp_path), "--people", "100", "--train", "9", "--test", "5", "--hops", "1", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "proved for 14 questions" in result.output
    assert "already done" in CliRunner().invoke(app, arguments).output
