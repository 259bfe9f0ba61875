"""``tr-grpo index build``: from corpus files to a finished index, stage by stage; an interrupted build goes on."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import Manifest, OutputFolder, digest_of, sha256
from tr_grpo.search import corpus, dense, postings
from tr_grpo.search.dense import FaissConfig, build_faiss, embed
from tr_grpo.search.encoder import Encoder, EncoderConfig
from tr_grpo.search.gathering import DROPPED, POSTINGS, gather
from tr_grpo.search.manifest import FORMAT, KINDS, library_versions
from tr_grpo.search.postings import Bm25Config, PostingsWriter
from tr_grpo.search.progress import BuildState, Show, silent
from tr_grpo.search.reading import CorpusConfig
from tr_grpo.search.words import stemmer

STATE = "progress.json"
FILES = (corpus.BYTES, corpus.OFFSETS, DROPPED, *postings.FILES, dense.EMBEDDINGS, dense.INDEX)
"""All that an index may consist of, beside its manifest."""


@dataclass(frozen=True)
class BuildConfig:
    """What ``index build`` was asked for."""

    corpus: CorpusConfig
    out: Path
    kind: str = "bm25"
    bm25: Bm25Config = field(default_factory=Bm25Config)
    encoder: EncoderConfig | None = None
    faiss: FaissConfig = field(default_factory=FaissConfig)
    device: str = "cpu"
    batch_size: int = 32
    overwrite: bool = False

    def __post_init__(self) -> None:
        stemmer(self.bm25.stem)
        if self.kind not in KINDS:
            raise InputError(f"--kind {self.kind}: has to be one of {', '.join(KINDS)}")
        if not (self.bm25.k1 >= 0 and 0 <= self.bm25.b <= 1):
            raise InputError(f"--k1 {self.bm25.k1} --b {self.bm25.b}: k1 has to be 0 or more, b between 0 and 1")
        if self.has_dense and self.encoder is None:
            raise InputError(f"--kind {self.kind} needs --encoder: a local folder or a name on the Hugging Face hub")
        if not self.has_dense and self.encoder is not None:
            raise InputError("--encoder does nothing with --kind bm25; pass --kind dense or fused, or leave it out")

    @property
    def has_bm25(self) -> bool:
        """Whether words are counted."""
        return self.kind != "dense"

    @property
    def has_dense(self) -> bool:
        """Whether passages are embedded."""
        return self.kind != "bm25"

    def settings(self) -> dict[str, Any]:
        """What decides the contents; a corpus or encoder that was only moved is the same."""
        encoder = self.encoder
        return {
            "format": FORMAT,
            "corpus": self.corpus.described(),
            "kind": self.kind,
            "bm25": asdict(self.bm25) if self.has_bm25 else None,
            "encoder": None if encoder is None else asdict(encoder) | {"name": encoder.identity or encoder.name},
            "faiss": asdict(self.faiss) if self.has_dense else None,
        }


def build_index(config: BuildConfig, show: Show = silent) -> Manifest:
    """Make the index, or go on with it; the manifest.

    InputError: bad input, no room, another index in the folder, another process that is building there.
    """
    settings = config.settings()
    folder = OutputFolder(config.out, digest_of(settings), FILES)
    try:
        with _alone(config.out):
            finished = folder.finished()
            if finished is not None:
                return finished
            folder.open(config.overwrite, _bytes_needed(config))
            return _Build(config, folder, settings, show).run()
    except OSError as error:
        reason = error.strerror or error
        again = "set it right and run the same command again: it goes on where it stopped"
        raise InputError(f"{config.out}: cannot write ({reason}); {again}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process, however it ends. InputError: another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder}: another build is at work there; wait for it or choose another --out"
            ) from error
        yield
        lock.unlink()


def _bytes_needed(config: BuildConfig) -> int:
    """About; gzipped text is taken for a third of itself. The vectors' share is unknown until they are counted."""
    text = sum(file.stat().st_size * (3 if file.suffix == ".gz" else 1) for file in config.corpus.files)
    return text // config.corpus.shard[1] * (4 if config.has_bm25 else 1)


class _Build:
    """One run of the stages. A stage that is done is marked, and not done again."""

    def __init__(self, config: BuildConfig, folder: OutputFolder, settings: dict[str, Any], show: Show) -> None:
        self.config, self.folder, self.settings, self.show = config, folder, settings, show
        self.work = folder.shards
        self.state = BuildState.load(self.work / STATE)

    def run(self) -> Manifest:
        """All stages. The encoder comes first: if it cannot be loaded, that is known before the corpus is read."""
        encoder = self._encoder() if self.config.has_dense else None
        if "passages" not in self.state.done:
            bm25 = self.config.bm25 if self.config.has_bm25 else None
            gather(self.config.corpus, bm25, self.work, self.state, self._save, self.show)
            self._mark("passages")
        if self.config.has_bm25 and "bm25" not in self.state.done:
            writer = PostingsWriter(self.work / POSTINGS, self.config.bm25, self.state.chunks)
            writer.finish(self.work, self.state.stored, lambda n: self.show("BM25", n, self.state.chunks))
            self._mark("bm25")
            shutil.rmtree(self.work / POSTINGS)
        if encoder is not None:
            self._dense(encoder)
        return self._finish()

    def _dense(self, encoder: Encoder) -> None:
        total = self.state.stored
        if self.state.embedded < total:
            self.show("embeddings", self.state.embedded, total)
            store, start = corpus.PassageStore(self.work), self.state.embedded
            for end in embed(store, encoder, self.config.faiss.dtype, self.work / dense.EMBEDDINGS, start):
                added = end - self.state.embedded
                self.state = replace(self.state, embedded=end)
                self._save()
                self.show("embeddings", added, total)
        if "faiss" not in self.state.done:
            build_faiss(self.work, self.config.faiss, lambda n: self.show("FAISS", n, total))
            self._mark("faiss")

    def _encoder(self) -> Encoder:
        """Also of a build that goes on: vectors of two encoders must not meet."""
        assert self.config.encoder is not None  # BuildConfig saw to it
        encoder = Encoder(self.config.encoder, device=self.config.device, batch_size=self.config.batch_size)
        record = encoder.record.written()
        if self.state.encoder not in (None, record):
            changed = f"--encoder {self.config.encoder.name} was changed since this build began"
            raise InputError(f"{self.config.out}: {changed}; restore it, or pass --overwrite")
        self.state = replace(self.state, encoder=record)
        return encoder

    def _save(self) -> None:
        self.state.save(self.work / STATE)

    def _mark(self, stage: str) -> None:
        self.state = replace(self.state, done=[*self.state.done, stage])
        self._save()

    def _finish(self) -> Manifest:
        """Move the files into place and write the manifest over them."""
        for name in FILES:
            if (self.work / name).exists():
                (self.folder.path / name).parent.mkdir(exist_ok=True)
                os.replace(self.work / name, self.folder.path / name)
        present = [self.folder.path / name for name in FILES if (self.folder.path / name).exists()]
        self.show("sha256", 0, len(present))
        files = {}
        for file in present:
            entry = {"sha256": sha256(file), "bytes": file.stat().st_size}
            files[file.relative_to(self.folder.path).as_posix()] = entry
            self.show("sha256", 1, len(present))
        manifest = self._manifest() | {"files": files}
        self.folder.finish(manifest)
        return manifest

    def _manifest(self) -> Manifest:
        config, state = self.config, self.state
        versions = library_versions(config.has_bm25, config.has_dense)
        if config.has_dense:
            versions["sentence-transformers"] = version("sentence-transformers")
        return {
            "format": FORMAT,
            "config_sha256": self.folder.digest,
            "settings": self.settings,
            "index": {
                "kind": config.kind,
                "passages": state.stored,
                "bm25": self.settings["bm25"],
                "faiss": self.settings["faiss"],
                "encoder": state.encoder,
            },
            "counts": {"records": state.records, "passages": state.rows, "kept": state.stored, "bad": state.skipped},
            "versions": versions,
        }
