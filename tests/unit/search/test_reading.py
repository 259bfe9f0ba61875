"""Corpora in every layout give the same passages; what is wrong is named by file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_indexes import write_jsonl

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math.faults import Fault
from tr_grpo.search.passage import Passage
from tr_grpo.search.reading import CorpusConfig, passage_of, read_corpus, refuse_bad

WANTED = [Passage("0", "Évora", "A city."), Passage("1", "", "No title, two\nlines."), Passage("x", 'A "b"', "c")]
SEARCH_R1 = [{"id": passage.id, "contents": passage.contents} for passage in WANTED]
FLASHRAG = [{"id": passage.id, "title": passage.title, "text": passage.text} for passage in WANTED]


def found(path: Path) -> list[Passage | None]:
    return [read.passage for read in read_corpus([path])]


@pytest.mark.parametrize("records", [SEARCH_R1, FLASHRAG], ids=["search_r1", "flashrag"])
def test_layouts_of_jsonl_give_the_same_passages(tmp_path: Path, records: list[dict[str, str]]) -> None:
    assert found(write_jsonl(tmp_path / "corpus.jsonl", records)) == WANTED


def test_gzipped_jsonl_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in SEARCH_R1)
    whole = path.read_bytes()
    assert found(path) == WANTED
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"corpus\.jsonl\.gz: .*; copy it again"):
        found(path)


def test_parquet_gives_the_same_passages(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.Table.from_pylist(FLASHRAG), path, row_group_size=2)
    assert found(path) == WANTED


def test_dpr_tsv_gives_the_same_passages(tmp_path: Path) -> None:
    path = tmp_path / "psgs.tsv"
    path.write_text('id\ttext\ttitle\n0\tA city.\tÉvora\n1\t"No title, two\nlines."\t\nx\tc\t"A ""b"""\n', "utf-8")
    assert found(path) == WANTED


def test_integer_ids_become_strings() -> None:
    assert passage_of({"id": 7, "contents": "text"}) == Passage("7", "", "text")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([1], "has to be an object"),
        ({"contents": "a"}, "has no `id`"),
        ({"id": "", "contents": "a"}, "`id` has to be"),
        ({"id": True, "contents": "a"}, "`id` has to be"),
        ({"id": 1.5, "contents": "a"}, "`id` has to be"),
        ({"id": "a"}, "neither `contents` nor `text`"),
        ({"id": "a", "contents": 3}, "`contents` has to be a string, not int"),
        ({"id": "a", "text": "a", "title": ["t"]}, "`title` has to be a string, not list"),
        ({"id": "a", "contents": " \n"}, "has no text"),
        ({"id": "a", "contents": "half \ud800"}, "half a surrogate pair"),
    ],
)
def test_an_unusable_record_says_what_is_wrong(value: Any, fault: str) -> None:
    with pytest.raises(Fault, match=fault):
        passage_of(value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.dictionaries(
    st.sampled_from(["id", "title", "text", "contents"]), x)))  # fmt: skip
def test_any_json_value_is_a_passage_or_a_fault(value: Any) -> None:
    try:
        passage = passage_of(value)
    except Fault:
        return
    assert passage.id
    assert (passage.title + passage.text).strip()


def test_a_bad_record_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "0", "contents": "a"}\n\n{"id": "1", "contents"\n{"id": "2", "contents": "b"}\n')
    with pytest.raises(InputError, match=r"corpus\.jsonl: line 3: not JSON .*--on-bad-row skip"):
        list(refuse_bad(read_corpus([path]), "stop"))
    assert [bool(read.fault) for read in refuse_bad(read_corpus([path]), "skip")] == [False, True, False]


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0)])
def test_a_shard_outside_its_number_is_refused(shard: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="--shard"):
        CorpusConfig((Path("a"),), shard)
