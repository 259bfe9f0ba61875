"""TR606: the weight files of a model folder, as verl and vLLM will look for them; and how many parameters they hold."""

import json
import os
from collections.abc import Iterator
from math import prod
from pathlib import Path

from tr_grpo.trainer.preflight.finding import Finding, error

PATTERNS = ("*.safetensors", "*.bin", "*.pt")
LFS = b"version https://git-lfs"
LONGEST_HEADER = 100 * 1024**2
"""Bytes; the format's own limit."""


def check(folder: Path) -> Iterator[Finding]:
    """There are weights, all shards of the index are there, and none is cut short or a git-lfs pointer."""
    found = [path for pattern in PATTERNS for path in folder.glob(pattern)]
    again = "download the model again, whole"
    if not found:
        yield error("TR606", f"{folder}: no weights ({', '.join(PATTERNS)})", again)
        return
    for index in folder.glob("*.index.json"):
        shards = set(json.loads(index.read_text("utf-8")).get("weight_map", {}).values())
        if missing := sorted(name for name in shards if not (folder / name).is_file()):
            yield error(
                "TR606",
                f"{index} names {len(shards)} shards, of which {len(missing)} are missing, first {missing[0]}", again
            )  # fmt: skip
    for path in found:
        with path.open("rb") as file:
            if file.read(len(LFS)) == LFS:
                yield error(
                    "TR606", f"{path} is a git-lfs pointer, not the weights", "run `git lfs pull` in that folder"
                )
                return
    for path in folder.glob("*.safetensors"):
        if (header := _header(path)) is None or path.stat().st_size < _end(header[0], header[1]):
            yield error("TR606", f"{path} is cut short", again)


def parameters(folder: str) -> int | None:
    """Parameters of a model folder, by the headers of its safetensors files; None for a hub name or another format."""
    headers = [_header(path) for path in sorted(Path(folder).glob("*.safetensors"))] if os.path.isdir(folder) else []
    whole = [tensors for header in headers if header is not None for tensors in [header[1]]]
    return sum(prod(tensor["shape"]) for tensors in whole for tensor in tensors.values()) if whole else None


def _header(path: Path) -> tuple[int, dict[str, dict]] | None:
    """Length of a safetensors file's header, its own 8 bytes included, and its tensors; None if it is not whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= LONGEST_HEADER else b""
    if not length or len(text) < length:
        return None
    tensors = json.loads(text)
    tensors.pop("__metadata__", None)
    return length + 8, tensors


def _end(start: int, tensors: dict[str, dict]) -> int:
    return start + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
