"""Corpora, encoders and indexes small enough to compute by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tr_grpo.search.build import BuildConfig, build_index
from tr_grpo.search.corpus import PassageStore, PassageWriter
from tr_grpo.search.passage import Passage
from tr_grpo.search.reading import CorpusConfig

WORDS = ["river", "bridge", "copper", "lantern", "harvest", "violin", "glacier", "theorem", "orchard", "saffron"]


def passages(count: int, seed: int = 0, words: int = 12) -> list[Passage]:
    """Passages of random words; the last two are equal but for their ids."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, words + 1))) for _ in range(count - 1)]
    texts.append(texts[-1])
    return [Passage(f"p{number}", f"title {number % 3}", text) for number, text in enumerate(texts)]


def write_jsonl(path: Path, records: Sequence[Any]) -> Path:
    """One JSON value a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_corpus(path: Path, given: Sequence[Passage]) -> Path:
    """Passages in Search-R1's layout."""
    return write_jsonl(path, [passage.wire() for passage in given])


def store_of(folder: Path, given: Sequence[Passage]) -> PassageStore:
    """A finished store."""
    writer = PassageWriter(folder)
    writer.extend(given)
    writer.flush()
    writer.close()
    return PassageStore(folder)


def built(out: Path, corpus: Path, **options: Any) -> Path:
    """The folder of a finished index of one file."""
    shard, on_bad_row = options.pop("shard", (0, 1)), options.pop("on_bad_row", "stop")
    build_index(BuildConfig(CorpusConfig((corpus,), shard, on_bad_row), out, **options))
    return out


def contents_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class TableEncoder:
    """Vectors from a table: ``queries`` and ``passages`` are texts that are row numbers."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table.astype(np.float32)

    @property
    def dimension(self) -> int:
        return self.table.shape[1]

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        return self.table[[int(text) for text in texts]]

    passages = queries


def unit_vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Random directions."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def tiny_bert(folder: Path, seed: int = 0) -> Path:
    """A plain model of transformers with random weights, as a user's own folder holds it."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", ":", *WORDS, "title", "0", "1", "2"]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokens), max_position_embeddings=64, **sizes)
    BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
