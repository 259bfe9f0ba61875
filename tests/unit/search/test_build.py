"""Builds: an interrupted one gives the same bytes, another config is refused, bad input is named."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_indexes import built, contents_of, passages, tiny_bert, write_corpus, write_jsonl

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.build import BuildConfig, build_index
from tr_grpo.search.encoder import EncoderConfig
from tr_grpo.search.opening import open_index
from tr_grpo.search.postings import Bm25Config
from tr_grpo.search.reading import CorpusConfig

GIVEN = passages(50)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tr_grpo.search.gathering.CHUNK", 8)
    monkeypatch.setattr("tr_grpo.search.dense.CHUNK", 8)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "bert")


class Killed(BaseException):
    """As a kill looks from inside: nothing that a build catches."""


def interrupted(config: BuildConfig, stage: str, times: int) -> None:
    """Run the build up to the ``times``-th sign of progress of this stage."""
    seen = []

    def show(name: str, done: int, total: int | None) -> None:
        if name == stage:
            seen.append(done)
            if len(seen) == times:
                raise Killed

    with pytest.raises(Killed):
        build_index(config, show)


@pytest.mark.parametrize(
    ("stage", "times"),
    [("passages", 1), ("passages", 4), ("BM25", 1), ("embeddings", 1), ("embeddings", 3), ("FAISS", 1), ("sha256", 2)],
)
def test_an_interrupted_build_gives_the_same_bytes(tmp_path: Path, bert: Path, stage: str, times: int) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    config = BuildConfig(CorpusConfig((corpus,)), tmp_path / "whole", "fused", encoder=EncoderConfig(str(bert)))
    build_index(config)
    again = replace(config, out=tmp_path / "again")
    interrupted(again, stage, times)
    with pytest.raises(InputError, match="unfinished; run the same"):
        open_index(again.out)
    build_index(again)
    assert contents_of(again.out) == contents_of(config.out)


def test_a_chunk_that_failed_half_way_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunk's passages are on disk already, its words and the mark are not."""
    from tr_grpo.search.postings import PostingsWriter

    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    add, calls = PostingsWriter.add, []

    def failing(self: PostingsWriter, *arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        add(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(PostingsWriter, "add", failing)
        with pytest.raises(Killed):
            built(tmp_path / "again", corpus)
    assert contents_of(built(tmp_path / "again", corpus)) == contents_of(built(tmp_path / "whole", corpus))


def test_finished_chunks_survive_kill_9_and_are_not_made_again(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    program = f"""
import os, signal
from pathlib import Path
from tr_grpo.search import build, gathering
from tr_grpo.search.reading import CorpusConfig
gathering.CHUNK, seen = 8, []
def show(stage, done, total):
    seen.append(done)
    if len(seen) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
build.build_index(build.BuildConfig(CorpusConfig((Path({str(corpus)!r}),)), Path({str(tmp_path / "again")!r})), show)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    seen: list[int] = []

    def show(stage: str, done: int, total: int | None) -> None:
        if stage == "passages":
            seen.append(done)

    build_index(BuildConfig(CorpusConfig((corpus,)), tmp_path / "again"), show)
    assert seen == [24, 8, 8, 8, 2]
    assert contents_of(tmp_path / "again") == contents_of(built(tmp_path / "whole", corpus))


def test_a_finished_index_is_left_as_it_is_also_if_the_corpus_was_moved(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    out = built(tmp_path / "index", corpus)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    (tmp_path / "elsewhere").mkdir()
    built(out, corpus.rename(tmp_path / "elsewhere" / "corpus.jsonl"))
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before


def test_another_config_is_refused_unless_it_may_overwrite(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    out = built(tmp_path / "index", corpus)
    other = BuildConfig(CorpusConfig((corpus,)), out, bm25=Bm25Config(stem="none"))
    with pytest.raises(InputError, match="holds data of other settings; pass --overwrite"):
        build_index(other)
    build_index(replace(other, overwrite=True))
    assert contents_of(out) == contents_of(built(tmp_path / "fresh", corpus, bm25=Bm25Config(stem="none")))


def test_an_unfinished_build_of_another_config_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    config = BuildConfig(CorpusConfig((corpus,)), tmp_path / "index")
    interrupted(config, "passages", 3)
    write_corpus(corpus, GIVEN[1:])  # the same name, other contents
    with pytest.raises(InputError, match="unfinished run of other settings"):
        build_index(config)
    build_index(replace(config, overwrite=True))
    assert open_index(config.out).passages == 49


def test_a_build_does_not_go_on_with_an_encoder_that_was_changed(tmp_path: Path) -> None:
    """By the config's digest: nothing of the first encoder is mixed with the second."""
    model = tiny_bert(tmp_path / "bert")
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    config = BuildConfig(CorpusConfig((corpus,)), tmp_path / "index", "dense", encoder=EncoderConfig(str(model)))
    interrupted(config, "embeddings", 3)
    tiny_bert(tmp_path / "other", seed=1).joinpath("model.safetensors").rename(model / "model.safetensors")
    with pytest.raises(InputError, match="other settings; pass --overwrite"):
        build_index(replace(config, encoder=EncoderConfig(str(model))))


def test_a_build_does_not_go_on_with_another_revision_of_its_encoder(tmp_path: Path, bert: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    config = BuildConfig(CorpusConfig((corpus,)), tmp_path / "index", "dense", encoder=EncoderConfig(str(bert)))
    interrupted(config, "embeddings", 3)
    (file,) = config.out.rglob("progress.json")
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"encoder": state["encoder"] | {"revision": "another"}}))
    with pytest.raises(InputError, match="was changed since this build began"):
        build_index(config)


def test_bad_records_are_listed_and_counted_when_skipped(tmp_path: Path) -> None:
    records = [GIVEN[0].wire(), {"id": "x"}, GIVEN[1].wire(), "text", GIVEN[2].wire()]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    with pytest.raises(InputError, match=r"corpus\.jsonl: line 2: a document has neither"):
        built(tmp_path / "stopped", corpus)
    out = built(tmp_path / "index", corpus, on_bad_row="skip")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"] == {"records": 5, "passages": 3, "kept": 3, "bad": 2}
    listed = [json.loads(line) for line in (out / "dropped.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["fault"][:20]) for entry in listed] == [
        (2, "a document has neith"),
        (4, "has to be an object "),
    ]
    assert manifest["files"].keys() == contents_of(out).keys() - {"manifest.json"}


@pytest.mark.parametrize("gap", [1, 30])
def test_an_id_used_twice_is_refused_with_both_places(tmp_path: Path, gap: int) -> None:
    first = write_corpus(tmp_path / "a.jsonl", GIVEN[:20])
    second = write_corpus(tmp_path / "b.jsonl", [*GIVEN[20:40], GIVEN[20 - gap % 20]])
    with pytest.raises(InputError) as refusal:
        build_index(BuildConfig(CorpusConfig((first, second)), tmp_path / "index"))
    here, there = f"{tmp_path}/b.jsonl: line 21", f"{tmp_path}/a.jsonl: line {21 - gap % 20}"
    assert str(refusal.value) == f"{here}: has the same id as {there}; give every passage an id of its own"


def test_several_files_and_forms_are_one_corpus(tmp_path: Path) -> None:
    write_corpus(tmp_path / "b.jsonl", GIVEN[20:])
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as file:
        file.write((tmp_path / "b.jsonl").read_bytes())
    files = write_corpus(tmp_path / "a.jsonl", GIVEN[:20]), tmp_path / "b.jsonl.gz"
    build_index(BuildConfig(CorpusConfig(files), tmp_path / "index"))
    (hits,) = open_index(tmp_path / "index").search(["title"], 50)
    assert sorted(hit.passage.id for hit in hits) == sorted(passage.id for passage in GIVEN)


def test_shards_share_the_corpus_out_and_score_as_one_index(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    (wanted,) = open_index(built(tmp_path / "whole", corpus)).search(["copper violin"], 50)
    found = []
    for shard in range(3):
        index = open_index(built(tmp_path / f"{shard}", corpus, shard=(shard, 3)))
        assert index.passages == len(GIVEN[shard::3])
        (hits,) = index.search(["copper violin"], 50)
        found += hits
    assert sorted(found, key=lambda hit: hit.passage.id) == sorted(wanted, key=lambda hit: hit.passage.id)


def test_a_shard_without_a_passage_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN[:3])
    with pytest.raises(InputError, match="no passage of shard 5/6 in it"):
        built(tmp_path / "index", corpus, shard=(5, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "colbert"}, "--kind colbert: has to be one of"),
        ({"kind": "dense"}, "--kind dense needs --encoder"),
        ({"encoder": EncoderConfig("x")}, "--encoder does nothing with --kind bm25"),
        ({"bm25": Bm25Config(b=2)}, "b between 0 and 1"),
        ({"bm25": Bm25Config(stem="porter")}, "--stem porter"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BuildConfig(CorpusConfig((tmp_path / "a",)), tmp_path, **options)  # type: ignore[arg-type]


def test_a_corpus_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl: cannot be read"):
        built(tmp_path / "index", tmp_path / "absent.jsonl")


def test_two_builds_do_not_write_into_one_folder(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    config = BuildConfig(CorpusConfig((corpus,)), tmp_path / "index")
    seen: list[str] = []

    def show(stage: str, done: int, total: int | None) -> None:
        if not seen:
            with pytest.raises(InputError, match="another build is at work there"):
                build_index(replace(config, overwrite=True))
        seen.append(stage)

    build_index(config, show)
    assert seen
    assert open_index(config.out, check=True).passages == 50


def test_a_full_disk_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    corpus = write_corpus(tmp_path / "corpus.jsonl", GIVEN)
    with monkeypatch.context() as patched:
        patched.setattr("tr_grpo.search.corpus.Appender.flush", full)
        with pytest.raises(InputError, match=r"No space left on device.*same command"):
            built(tmp_path / "index", corpus)
    assert open_index(built(tmp_path / "index", corpus)).passages == 50
