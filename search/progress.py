"""How far an index build has come, on disk: what a killed build goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tr_grpo.data_prep.storage import write_atomic

Show = Callable[[str, int, int | None], None]
"""Shows progress: stage, how much was done since, how much there is in all (None: unknown)."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Shows nothing."""


@dataclass
class BuildState:
    """Written after each chunk. Whatever lies on disk beyond it is cut off or written over."""

    records: int = 0  # of the inputs, read
    rows: int = 0  # passages among them
    stored: int = 0  # passages of this shard
    skipped: int = 0  # bad records
    chunks: int = 0
    sizes: dict[str, int] = field(default_factory=dict)  # of the files that grow
    embedded: int = 0  # passages
    encoder: dict[str, Any] | None = None  # the record of what embeds them
    done: list[str] = field(default_factory=list)  # stages

    @classmethod
    def load(cls, path: Path) -> Self:
        """The state of an earlier run, or that of the start."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else cls()

    def save(self, path: Path) -> None:
        """Replace the file at once."""
        text = json.dumps(asdict(self))
        write_atomic(path, lambda temporary: _write(temporary, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
