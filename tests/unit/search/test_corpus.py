"""The passage store gives back any text, from any row, also after an interruption."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_indexes import passages, store_of

from tr_grpo.search.corpus import BYTES, OFFSETS, PassageStore, PassageWriter
from tr_grpo.search.passage import Passage

text = st.text(st.characters(exclude_categories=["Cs"]))  # all but half surrogate pairs


@given(st.lists(st.lists(st.builds(Passage, text, text, text), max_size=4), max_size=4))
def test_the_store_gives_back_any_text(parts: list[list[Passage]]) -> None:
    with TemporaryDirectory() as name:
        writer = PassageWriter(Path(name))
        for part in parts:
            writer.extend(part)
        writer.flush()
        writer.close()
        assert list(PassageStore(Path(name))) == [passage for part in parts for passage in part]


def test_a_row_outside_the_store_is_an_index_error(tmp_path: Path) -> None:
    store = store_of(tmp_path, passages(3))
    assert len(store) == 3
    for row in (-1, 3):
        with pytest.raises(IndexError, match=f"row {row} of 3 passages"):
            store[row]


def test_what_was_written_after_the_last_mark_is_cut_off(tmp_path: Path) -> None:
    first, lost, second = passages(5), passages(7, seed=1), passages(4, seed=2)
    writer = PassageWriter(tmp_path)
    writer.extend(first)
    sizes = writer.flush()
    writer.extend(lost)
    writer.flush()
    writer.close()
    writer = PassageWriter(tmp_path, *sizes)
    writer.extend(second)
    writer.flush()
    writer.close()
    assert list(PassageStore(tmp_path)) == first + second
    whole = tmp_path / "whole"
    whole.mkdir()
    store_of(whole, first + second)
    for name in (BYTES, OFFSETS):
        assert (whole / name).read_bytes() == (tmp_path / name).read_bytes()
