"""Open a finished index: every refusal comes here, before anything is searched."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.corpus import PassageStore
from tr_grpo.search.dense import FaissConfig
from tr_grpo.search.encoder import Encoder, EncoderRecord
from tr_grpo.search.manifest import AGAIN, IndexManifest
from tr_grpo.search.ranking import IndexRetriever, Ranker


def open_index(
    folder: Path,
    *,
    kind: str | None = None,
    check: bool = False,
    device: str = "cpu",
    encoder: str | None = None,
    batch_size: int = 32,
    nprobe: int | None = None,
    ef_search: int | None = None,
) -> IndexRetriever:
    """The retriever of an index that ``index build`` finished.

    Opening maps the files; processes that open one index share its pages. Raises InputError, one line: no index, an
    unfinished one, another format or library version, files that are missing or of another size, another encoder.

    kind: ``bm25`` or ``dense`` of a fused index; by default what it was built as.
    check: also compare the sha256 of every file, which reads all of them.
    device: where the encoder runs. encoder: where it lies now, if it was moved. batch_size: queries encoded at once.
    nprobe, ef_search: IVF's and HNSW's search effort in place of what the index was built with.
    """
    manifest = IndexManifest.load(folder)
    kind = _kind(folder, manifest, kind)
    if kind == "bm25":
        manifest = replace(manifest, faiss=None, encoder=None)
    elif kind == "dense":
        manifest = replace(manifest, bm25=None)
    manifest.check_versions(folder)
    manifest.check_files(folder)
    if check:
        deque(manifest.check_contents(folder), maxlen=0)
    rankers: list[Ranker] = []
    if manifest.bm25 is not None:
        from tr_grpo.search.bm25 import Bm25Ranker

        rankers.append(Bm25Ranker(folder, manifest.bm25.stem))
    if manifest.faiss is not None and manifest.encoder is not None:
        from tr_grpo.search.dense import DenseRanker

        loaded = load_encoder(folder, manifest.encoder, encoder, device, batch_size)
        rankers.append(DenseRanker(folder, _effort(manifest.faiss, nprobe, ef_search), loaded))
    elif encoder is not None:
        raise InputError(f"{folder}: is searched by bm25 alone, which has no encoder; leave --encoder out")
    return IndexRetriever(kind, _one(rankers), PassageStore(folder), manifest.digest)


def _kind(folder: Path, manifest: IndexManifest, asked: str | None) -> str:
    has = ("fused", "bm25", "dense") if manifest.kind == "fused" else (manifest.kind,)
    if asked is not None and asked not in has:
        raise InputError(f"{folder}: is an index of kind {manifest.kind} and cannot be searched as {asked}; "
                         f"choose from: {', '.join(has)}")  # fmt: skip
    return asked or manifest.kind


def _one(rankers: list[Ranker]) -> Ranker:
    if len(rankers) == 1:
        return rankers[0]
    from tr_grpo.search.fusion import FusedRanker

    return FusedRanker(rankers)


def _effort(config: FaissConfig, nprobe: int | None, ef_search: int | None) -> FaissConfig:
    return replace(config, nprobe=nprobe or config.nprobe, ef_search=ef_search or config.ef_search)


def load_encoder(folder: Path, record: EncoderRecord, moved_to: str | None, device: str, batch_size: int) -> Encoder:
    """The encoder that made the vectors; InputError where it is gone, was changed, or another one was asked for."""
    config = record.config if moved_to is None else replace(record.config, name=moved_to)
    if record.sha256:
        if config.folder is None:
            raise InputError(f"{folder}: its encoder {config.name} is not there; say with --encoder where it lies")
        if config.identity != record.sha256:
            what = "was changed since" if moved_to is None else f"is not the one that made the index ({record.name})"
            raise InputError(f"{folder}: its encoder {config.name} {what}; restore it, or {AGAIN}")
        return Encoder(config, device=device, batch_size=batch_size)
    if config.name != record.name:
        raise InputError(f"{folder}: was made with encoder {record.name}, not {config.name}; "
                         f"leave --encoder out, or {AGAIN}")  # fmt: skip
    return Encoder(config, device=device, batch_size=batch_size, revision=record.revision)
