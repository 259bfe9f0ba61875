"""The model folder: written whole or not at all, shipped at half size, copied and checked by sha256.

Nothing here imports torch, so that copying the shipped model takes no time.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import sha256

SHIPPED = Path(__file__).parent / "weights"
"""The model of Knights & Knaves."""
SHIPPED_ARITHMETIC = Path(__file__).parent / "weights_arithmetic"
SHIPPED_FACTS = Path(__file__).parent / "weights_facts"
MANIFEST = "manifest.json"
TENSORS = "model.safetensors"


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that becomes ``out`` at the end, and vanishes if an exception comes first.

    Raises InputError if ``out`` exists and is not an empty folder, or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: exists already; delete it or choose another --out")
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(f"{out}: cannot write there ({error.strerror}); choose another --out") from error
    try:
        yield temporary
        for path in (temporary, *temporary.iterdir()):  # mkdtemp and safetensors hide theirs from other users
            path.chmod(0o755 if path.is_dir() else 0o644)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def finish(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, with the sha256 of every other file, into ``folder``."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    text = json.dumps({**manifest, "sha256": files}, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder; InputError if there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / MANIFEST}: not a model manifest; build or copy the model again") from error
    return manifest


def intact(folder: Path, manifest: dict[str, Any]) -> bool:
    """True iff ``folder`` holds exactly the manifest's files, byte by byte, and the manifest itself."""
    found = {path.name: sha256(path) for path in folder.iterdir() if path.is_file() and path.name != MANIFEST}
    return found == manifest["sha256"] and read_manifest(folder) == manifest


def copy_shipped(out: Path, weights: Path | None = None) -> bool:
    """Write a shipped model to ``out`` in float32; False if ``out`` already holds just that.

    ``weights`` is where it lies in the package, ``SHIPPED`` if None. Raises InputError if ``out`` holds anything else
    or cannot be written.
    """
    weights = weights or SHIPPED
    manifest = read_manifest(weights)
    if (out / MANIFEST).is_file() and intact(out, manifest):
        return False
    with output_folder(out) as folder:
        for path in weights.iterdir():
            if path.name != TENSORS:
                shutil.copyfile(path, folder / path.name)
        _convert(weights / TENSORS, folder / TENSORS, "float32")
        if not intact(folder, manifest):
            raise InputError(f"{weights}: the shipped model is damaged (its sha256 differ); install the package again")
    return True


def pack(model: Path, weights: Path) -> None:
    """Turn a built model folder into the form that is shipped: the same files, weights in float16.

    Raises InputError if a weight is not a float16 number, which would make the copy differ from ``model``.
    """
    manifest = read_manifest(model)
    with output_folder(weights) as folder:
        for name in (*manifest["sha256"], MANIFEST):
            if name != TENSORS:
                shutil.copyfile(model / name, folder / name)
        _convert(model / TENSORS, folder / TENSORS, "float16")


def _convert(source: Path, target: Path, dtype: str) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    converted = {}
    for name, tensor in load_file(source).items():
        converted[name] = np.ascontiguousarray(tensor.astype(dtype))
        if not np.array_equal(converted[name], tensor):
            raise InputError(f"{source}: {name} is not exact in {dtype}; round the weights first")
    save_file(converted, target, metadata={"format": "pt"})
