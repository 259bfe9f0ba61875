"""Arrays on disk: readable as .npy, and their room is reserved before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tr_grpo.search.arrays import create_array, flush


@pytest.mark.parametrize("shape", [(5,), (3, 4), (0,), (0, 4)])
def test_what_is_written_is_read_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = create_array(tmp_path / "a.npy", "float16", shape)
    array[...] = np.arange(array.size).reshape(shape)
    flush(array)
    found = np.load(tmp_path / "a.npy")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.arange(array.size).reshape(shape))


def test_the_file_has_no_holes(tmp_path: Path) -> None:
    create_array(tmp_path / "a.npy", np.float32, (1 << 18,))
    file = (tmp_path / "a.npy").stat()
    assert file.st_blocks * 512 >= file.st_size > 1 << 20


def test_no_room_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - by file system: no space, or the file would be too large
        create_array(tmp_path / "a.npy", np.float32, (1 << 46,))
    assert not (tmp_path / "a.npy").exists() or (tmp_path / "a.npy").stat().st_blocks * 512 < 1 << 40
