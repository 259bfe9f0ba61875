"""What a worker serves: it opens its own retriever, in its own process, from what a source says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tr_grpo.search.retriever import Retriever

Facts = dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """A retriever, and what ``/ready`` tells of it; asking raises Refusal while it cannot be served."""

    retriever: Retriever
    facts: Callable[[], Awaitable[Facts]]


class Source(Protocol):
    """Picklable, as it travels to the workers."""

    def open(self) -> Opened:
        """The retriever, ready to be asked; InputError if there is none."""
        ...


@dataclass(frozen=True)
class IndexSource:
    """An index folder of ``tr-grpo index build``."""

    folder: Path
    kind: str | None = None
    device: str = "cpu"
    encoder: str | None = None
    nprobe: int | None = None
    ef_search: int | None = None

    def open(self) -> Opened:
        """Open the index; one search compiles and loads what the first request would otherwise wait for."""
        from tr_grpo.search.opening import open_index

        retriever = open_index(
            self.folder,
            kind=self.kind,
            device=self.device,
            encoder=self.encoder,
            nprobe=self.nprobe,
            ef_search=self.ef_search,
        )
        retriever.search(["warm up"], 1)
        facts = {"retriever": retriever.name, "passages": retriever.passages, "manifest_sha256": retriever.digest}

        async def known() -> Facts:
            return facts

        return Opened(retriever, known)


@dataclass(frozen=True)
class ShardSource:
    """Servers elsewhere that hold a part of the corpus each (:mod:`tr_grpo.search.shards`)."""

    urls: tuple[str, ...]
    timeout: float
    token: str | None = None

    def open(self) -> Opened:
        """Connects to nothing yet: shards may start later, and /ready says which do not answer."""
        from tr_grpo.search.shards import ShardedRetriever

        retriever = ShardedRetriever(self.urls, timeout=self.timeout, token=self.token)
        return Opened(retriever, retriever.facts)
