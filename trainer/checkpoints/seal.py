"""A checkpoint's seal: a list of its files with sizes and checksums, written last. Without a seal it is not whole.

verl writes ``global_step_N/`` file by file. A process killed on the way, a full disk or a bad one leaves a folder that
looks like a checkpoint; a run that resumed from it would fail, or worse, go on with wrong weights.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

SEAL = "seal.json"
LAYOUT = 1
THREADS = 8
"""hashlib lets go of Python's lock, so large shards are read side by side."""
SHARD = re.compile(r"model_world_size_(\d+)_rank_(\d+)\.pt")


@dataclass(frozen=True)
class SealedFile:
    """One file of a sealed checkpoint: ``bytes`` and the hexadecimal SHA-256 of its content."""

    bytes: int
    sha256: str


def seal(checkpoint: Path) -> None:
    """Flush every file of ``checkpoint`` to the disk, then write down what it holds, all or nothing.

    Args:
        checkpoint: a folder ``global_step_N`` that nothing writes to any more.

    Raises:
        OSError: a file cannot be read, or the seal cannot be written (a full disk).
    """
    (checkpoint / SEAL).unlink(missing_ok=True)
    names = sorted(_files(checkpoint))
    with ThreadPoolExecutor(THREADS) as pool:
        digests = dict(zip(names, pool.map(lambda name: _digest(checkpoint / name, flush=True), names), strict=True))
    content = {"layout": LAYOUT, "files": {name: asdict(digest) for name, digest in digests.items()}}
    write_whole(checkpoint / SEAL, json.dumps(content, indent=1))


def fault(checkpoint: Path) -> str | None:
    """Why ``checkpoint`` cannot be resumed from, or None where each sealed file has the sealed content.

    Files that came later (a merged model) are not looked at. Reads everything, gigabytes a second, but once a process
    unless a file changes.
    """
    if not checkpoint.is_dir():
        return "the folder is not there"
    if not (checkpoint / SEAL).is_file():
        return "it has no seal, so its writing was cut short"
    stats = [(name, (checkpoint / name).stat()) for name in [SEAL, *sorted(_files(checkpoint))]]
    return _fault(checkpoint, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


@lru_cache
def _fault(checkpoint: Path, state: tuple[tuple[str, int, int], ...]) -> str | None:
    try:
        files = _read(checkpoint / SEAL)
    except (ValueError, KeyError, TypeError) as problem:
        return f"{SEAL} cannot be read ({problem})"
    # Sizes first: a file that was cut short is found without reading the others.
    for name, sealed in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != sealed.bytes:
            return f"{name} has {size} bytes, and {sealed.bytes} were written"
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda name: _digest(checkpoint / name, flush=False), files)
        for (name, sealed), digest in zip(files.items(), found, strict=True):
            if digest != sealed:
                return f"{name} has another content than was written (SHA-256)"
    return None


def missing_ranks(checkpoint: Path) -> list[int]:
    """Ranks whose model shard this machine does not see: those of nodes that do not share the run folder."""
    shards = [match for path in (checkpoint / "actor").glob("*.pt") if (match := SHARD.fullmatch(path.name))]
    if not shards:
        return []
    return sorted(set(range(int(shards[0][1]))) - {int(shard[2]) for shard in shards})


def write_whole(path: Path, text: str) -> None:
    """Write ``path`` so that a reader, or a power cut, finds the old content or the new, never a part.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> dict[str, SealedFile]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if content["layout"] != LAYOUT:
        raise ValueError(f"layout {content['layout']}, and this version reads {LAYOUT}")
    return {name: SealedFile(**entry) for name, entry in content["files"].items()}


def _files(checkpoint: Path) -> Iterator[str]:
    for path in checkpoint.rglob("*"):
        if path.is_file() and path.name not in (SEAL, f"{SEAL}.part"):
            yield path.relative_to(checkpoint).as_posix()


def _digest(path: Path, flush: bool) -> SealedFile:
    with path.open("rb") as file:
        if flush:
            os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return SealedFile(file.tell(), digest)
