"""Encoders: what sentence-transformers can load, with the prefixes its training had, and which weights they were."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import digest_of, sha256

POOLING = ("auto", "mean", "cls")
# Not the ones that follow instructions: their queries are written otherwise.
_E5 = re.compile(r"(^|[^a-z0-9])e5([^a-z0-9]|$)(?!.*(instruct|mistral))")
# Of a local model: what decides the vectors. A README does not.
_PARTS = (".json", ".safetensors", ".bin", ".txt", ".model")


@dataclass(frozen=True)
class EncoderConfig:
    """``index build``'s options of the encoder. ``None`` is what fits the model."""

    name: str
    """A local folder, or a name on the Hugging Face hub."""
    query_prefix: str | None = None
    passage_prefix: str | None = None
    pooling: str = "auto"
    max_length: int | None = None  # tokens; longer passages are cut

    def __post_init__(self) -> None:
        if self.pooling not in POOLING:
            raise InputError(f"--pooling {self.pooling}: has to be one of {', '.join(POOLING)}")
        if self.max_length is not None and self.max_length < 1:
            raise InputError(f"--max-length {self.max_length}: has to be at least 1")

    @property
    def folder(self) -> Path | None:
        """The folder of a local model; ``None`` for a name on the hub."""
        folder = Path(self.name).expanduser()
        return folder.resolve() if folder.is_dir() else None

    @cached_property
    def identity(self) -> str:
        """sha256 over a local model's files; empty for a name on the hub, whose identity is the revision."""
        folder = self.folder
        if folder is None:
            return ""
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix in _PARTS]
        if not files:
            raise InputError(f"{self.name}: holds no model (no .json, .safetensors or .bin); correct --encoder")
        return digest_of({file.relative_to(folder).as_posix(): sha256(file) for file in files})


@dataclass(frozen=True)
class EncoderRecord:
    """What the manifest says of the encoder: enough to load the same one again, or to notice that it is another."""

    name: str
    sha256: str  # of a local model's files
    revision: str  # of a model of the hub
    dimension: int
    query_prefix: str
    passage_prefix: str
    pooling: str
    max_length: int | None

    @property
    def config(self) -> EncoderConfig:
        """Options that load this encoder."""
        return EncoderConfig(self.name, self.query_prefix, self.passage_prefix, self.pooling, self.max_length)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """Of a manifest's entry."""
        return cls(**values)

    def written(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


class Encoder:
    """Unit vectors of queries and passages. On CUDA the model runs in half precision."""

    def __init__(
        self, config: EncoderConfig, *, device: str = "cpu", batch_size: int = 32, revision: str | None = None
    ) -> None:
        identity = config.identity
        self._model = _load(config, device, revision)
        self._batch_size = batch_size
        if config.max_length is not None:
            self._model.max_seq_length = config.max_length
        if device.startswith("cuda"):
            self._model.half()
        query, passage = _prefixes(config, self._model.prompts)
        folder = config.folder
        self.record = EncoderRecord(
            name=str(folder or config.name),
            sha256=identity,
            revision="" if folder else _revision(self._model, config),
            dimension=self._model.get_embedding_dimension(),
            query_prefix=query,
            passage_prefix=passage,
            pooling=config.pooling,
            max_length=self._model.max_seq_length,
        )

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self.record.dimension

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, dimension]."""
        return self._encode([self.record.query_prefix + text for text in texts])

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, dimension]."""
        return self._encode([self.record.passage_prefix + text for text in texts])

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = self._model.encode(
            texts, prompt="", batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, np.float32)


def _load(config: EncoderConfig, device: str, revision: str | None) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    name = str(config.folder or config.name)
    # Weights alone: a model's own code is not run.
    try:
        if config.pooling == "auto":  # the model's own; for a plain model of transformers, the mean
            return SentenceTransformer(name, device=device, revision=revision)
        pinned = {"revision": revision} if revision else {}
        transformer = Transformer(name, model_kwargs=pinned, processor_kwargs=pinned, config_kwargs=pinned)
        pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=config.pooling)
        return SentenceTransformer(modules=[transformer, pooling], device=device)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--encoder {config.name}: cannot be loaded ({reason})") from error


def _prefixes(config: EncoderConfig, prompts: dict[str, str]) -> tuple[str, str]:
    """Of query and passage: as asked, else e5's, else those that the model brings along."""
    e5 = is_e5(config)
    query = "query: " if e5 else prompts.get("query", "")
    passage = "passage: " if e5 else prompts.get("document", prompts.get("passage", ""))
    asked = config.query_prefix, config.passage_prefix
    return (query if asked[0] is None else asked[0], passage if asked[1] is None else asked[1])


def is_e5(config: EncoderConfig) -> bool:
    """Whether the model was trained with e5's prefixes: by its name, or the name its config.json keeps."""
    names = [Path(config.name).name]
    folder = config.folder
    if folder is not None and (folder / "config.json").is_file():
        try:
            names.append(str(json.loads((folder / "config.json").read_text()).get("_name_or_path", "")))
        except (ValueError, AttributeError) as error:
            raise InputError(f"{folder / 'config.json'}: not a JSON object ({error}); copy the model again") from error
    return any(_E5.search(name.lower()) for name in names)


def _revision(model: Any, config: EncoderConfig) -> str:
    commit = getattr(model[0].auto_model.config, "_commit_hash", None)
    if not commit:
        raise InputError(f"--encoder {config.name}: its revision is unknown; download it and name the folder")
    return str(commit)
