"""New arrays on disk, memory-mapped, with their room reserved: a full disk is an error, not a crash while writing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """A ``.npy`` file of zeros to write into. OSError: no room.

    Without the reservation the file has holes, and a write into a hole for which there is no room ends the process
    with SIGBUS.
    """
    if 0 in shape:  # an empty array cannot be mapped
        np.save(path, np.zeros(shape, dtype))
        return np.zeros(shape, dtype)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def flush(array: NDArray[Any]) -> None:
    """Bring what was written to disk."""
    if isinstance(array, np.memmap):
        array.flush()
