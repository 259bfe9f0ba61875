"""``manifest.json`` of an index: what it was made of and with, and whether it may be opened here and now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import sha256
from tr_grpo.search.dense import FaissConfig
from tr_grpo.search.encoder import EncoderRecord
from tr_grpo.search.postings import Bm25Config

FORMAT = 1
"""Of the folder. An index of another number is refused: build it again."""
NAME = "manifest.json"
KINDS = ("bm25", "dense", "fused")
AGAIN = "build it again: tr-grpo index build"


@dataclass(frozen=True)
class IndexManifest:
    """A finished index."""

    kind: str
    passages: int
    bm25: Bm25Config | None
    faiss: FaissConfig | None
    encoder: EncoderRecord | None
    files: dict[str, dict[str, Any]]  # name: {"sha256", "bytes"}
    versions: dict[str, str]
    digest: str  # sha256 of manifest.json

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the manifest. InputError: there is none, it is unfinished, or of another format."""
        path = folder / NAME
        if not path.is_file():
            if (folder / ".partial").is_dir():
                raise InputError(f"{folder}: this index is unfinished; run the same `tr-grpo index build` again")
            raise InputError(f"{folder}: no index there (no {NAME}); make one with tr-grpo index build --out {folder}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            number = values.get("format") if isinstance(values, dict) and "index" in values else None
            if number != FORMAT:
                what = f"of format {number}, this package reads {FORMAT}" if number else "not of an index"
                raise InputError(f"{path}: {what}; {AGAIN}")
            return cls._of(values["index"], values["files"], values["versions"], sha256(path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); {AGAIN}") from error

    @classmethod
    def _of(cls, index: dict[str, Any], files: dict[str, Any], versions: dict[str, str], digest: str) -> Self:
        bm25, faiss, encoder = index["bm25"], index["faiss"], index["encoder"]
        return cls(
            kind=index["kind"],
            passages=index["passages"],
            bm25=None if bm25 is None else Bm25Config(**bm25),
            faiss=None if faiss is None else FaissConfig(**faiss),
            encoder=None if encoder is None else EncoderRecord.read(encoder),
            files={
                name: {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])} for name, entry in files.items()
            },
            versions={str(name): str(number) for name, number in versions.items()},
            digest=digest,
        )

    def check_files(self, folder: Path) -> None:
        """InputError: a file is missing or has another size."""
        for name, entry in self.files.items():
            file = folder / name
            if not file.is_file():
                raise InputError(f"{file}: missing; copy the index again, or {AGAIN}")
            if file.stat().st_size != entry["bytes"]:
                sizes = f"{file.stat().st_size} bytes instead of {entry['bytes']}"
                raise InputError(f"{file}: {sizes}; copy the index again, or {AGAIN}")

    def check_contents(self, folder: Path) -> Iterator[str]:
        """Read every file and compare its sha256; gives the names as they are done. InputError: another one."""
        for name, entry in self.files.items():
            found = sha256(folder / name)
            if found != entry["sha256"]:
                wanted = f"sha256 {found[:16]} instead of {entry['sha256'][:16]}"
                raise InputError(f"{folder / name}: {wanted}; copy the index again, or {AGAIN}")
            yield name

    def check_versions(self, folder: Path) -> None:
        """InputError: a library that reads the files has another major version than the one that wrote them."""
        for name, here in library_versions(self.bm25 is not None, self.faiss is not None).items():
            there = self.versions.get(name, "no version")
            if there.split(".")[0] != here.split(".")[0]:
                raise InputError(f"{folder}: made with {name} {there}, {here} is installed; install {name} {there}, "
                                 f"or {AGAIN}")  # fmt: skip


def library_versions(bm25: bool, dense: bool) -> dict[str, str]:
    """Of the libraries whose formats an index of these parts has."""
    found = {"bm25s": version("bm25s")} if bm25 else {}
    if dense:
        import faiss

        found["faiss"] = faiss.__version__
    return found
