"""The passages of an index on disk: one file of bytes, one of offsets, both memory-mapped.

``passages.bin`` holds id, title and text of one passage after the other in UTF-8; ``passages.offsets`` holds little-
endian 64-bit integers, three a passage and one at the end: where each of them starts. Processes that open the same
folder share the pages.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tr_grpo.search.passage import Passage

BYTES, OFFSETS = "passages.bin", "passages.offsets"
_OFFSET = np.dtype("<u8")


class PassageStore:
    """Passages by row number; reading one touches its own pages only."""

    def __init__(self, folder: Path) -> None:
        offsets = folder / OFFSETS
        self._offsets = np.memmap(offsets, _OFFSET, mode="r") if offsets.stat().st_size else np.zeros(1, _OFFSET)
        with (folder / BYTES).open("rb") as file:  # an empty file cannot be mapped
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._offsets[-1] else b""

    def __len__(self) -> int:
        return (len(self._offsets) - 1) // 3

    def __getitem__(self, row: int) -> Passage:
        """The passage of this row; IndexError outside 0 to len - 1."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} passages")
        start, title, text, end = self._offsets[3 * row : 3 * row + 4].tolist()
        raw = self._bytes
        return Passage(raw[start:title].decode(), raw[title:text].decode(), raw[text:end].decode())

    def __iter__(self) -> Iterator[Passage]:
        return (self[row] for row in range(len(self)))


class Appender:
    """A file that grows; what was added after the last ``flush`` is cut off when it is opened at that size again."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, data: bytes) -> None:
        """Add ``data`` at the end."""
        self._file.write(data)

    def flush(self) -> int:
        """Bring everything to disk; the size of the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class PassageWriter:
    """Writes a store; opened with the sizes of an interrupted one, it goes on from there."""

    def __init__(self, folder: Path, size: int = 0, offsets_size: int = 0) -> None:
        self._bytes = Appender(folder / BYTES, size)
        self._offsets = Appender(folder / OFFSETS, offsets_size)
        self._end = size
        if not offsets_size:
            self._offsets.write(np.zeros(1, _OFFSET).tobytes())

    def extend(self, passages: Iterable[Passage]) -> None:
        """Add passages at the end."""
        parts = [part.encode() for passage in passages for part in (passage.id, passage.title, passage.text)]
        ends = np.cumsum([len(part) for part in parts], dtype=_OFFSET) + _OFFSET.type(self._end)
        self._bytes.write(b"".join(parts))
        self._offsets.write(ends.astype(_OFFSET).tobytes())
        self._end = int(ends[-1]) if parts else self._end

    def flush(self) -> tuple[int, int]:
        """Bring everything to disk; the sizes of the two files, to open them with again."""
        return self._bytes.flush(), self._offsets.flush()

    def close(self) -> None:
        """Close the files."""
        self._bytes.close()
        self._offsets.close()
