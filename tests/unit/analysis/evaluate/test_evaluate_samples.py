"""Parts on disk: whole or absent, each sample once, nothing foreign, nothing lost."""

from dataclasses import fields, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_samples import made

from tr_grpo.analysis.evaluate.samples import (
    FLUSH_SAMPLES,
    HEAVY,
    Sample,
    SampleFolder,
    SampleWriter,
    schema,
    unscored,
    write_part,
)
from tr_grpo.data_prep.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(response=TEXT, answer=st.none() | TEXT, score=st.none() | st.floats(allow_nan=False), greedy=st.booleans())
def test_a_sample_comes_back_as_it_was(
    tmp_path: Path, response: str, answer: str | None, score: float | None, greedy: bool
) -> None:
    sample = made("a", 3, greedy=greedy, response=response, answer=answer, score=score, trajectory='{"turns": []}')
    write_part(tmp_path / "part-0001-000-000000.parquet", [sample])
    assert SampleFolder(tmp_path).read(light=False) == [sample]


def test_a_table_does_not_read_the_long_texts(tmp_path: Path) -> None:
    write_part(tmp_path / "part-0001-000-000000.parquet", [made("a", 0)])
    (sample,) = SampleFolder(tmp_path).read()
    assert {getattr(sample, name) for name in HEAVY} == {""}
    assert [field.name for field in fields(Sample)] == schema().names


def test_of_a_sample_made_twice_the_later_counts(tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path)
    failed = made("a", 0, verdict="error", score=None)
    write_part(tmp_path / "part-0001-001-000005.parquet", [failed, made("a", 1)])
    assert folder.done() == {("a", 1, False)}  # what could not be scored is tried again
    assert unscored(folder.read()) == 1
    assert folder.next_start() == 2
    write_part(tmp_path / "part-0002-000-000000.parquet", [made("a", 0, True)])
    assert folder.done() == {("a", 0, False), ("a", 1, False)}
    assert [sample.right for sample in folder.read()] == [True, False]


def test_a_failed_search_is_tried_again(tmp_path: Path) -> None:
    write_part(tmp_path / "part-0001-000-000000.parquet", [replace(made("a", 0, True), failed_searches=1)])
    assert SampleFolder(tmp_path).done() == set()


def test_a_half_written_part_is_no_part_and_is_cleaned_away(tmp_path: Path) -> None:
    (tmp_path / ".part-0001-000-000000.parquet.77.tmp").write_bytes(b"PAR1 half")
    folder = SampleFolder(tmp_path)
    assert folder.read() == []
    folder.clean()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", "part-1.parquet", "part-0001-000-000000.parquet.bak"])
def test_a_foreign_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name}: not written by"):
        SampleFolder(tmp_path).read()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "part-0001-000-000000.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"part-0001-000-000000.parquet: not a part of samples .*delete it"):
        SampleFolder(tmp_path).read()


def test_the_writer_writes_parts_and_keeps_the_rest_until_it_is_flushed(tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path)
    writer = SampleWriter(folder, 1, 0)
    for number in range(FLUSH_SAMPLES + 3):
        writer.add(made("a", number))
    assert [pq.read_metadata(part).num_rows for part in folder.parts()] == [FLUSH_SAMPLES]
    writer.flush()
    writer.flush()
    assert [pq.read_metadata(part).num_rows for part in folder.parts()] == [FLUSH_SAMPLES, 3]
    assert len(folder.read()) == FLUSH_SAMPLES + 3


def test_a_disk_that_does_not_take_it_is_bad_input(tmp_path: Path) -> None:
    writer = SampleWriter(SampleFolder(tmp_path / "gone"), 1, 0)
    writer.add(made("a", 0))
    with pytest.raises(InputError, match="cannot write"):
        writer.flush()
