"""Opening: an index answers with its passages, and whatever does not fit is refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_indexes import built, passages, tiny_bert, write_corpus

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import sha256
from tr_grpo.search.dense import FaissConfig
from tr_grpo.search.encoder import EncoderConfig
from tr_grpo.search.opening import open_index
from tr_grpo.search.retriever import Retriever

GIVEN = passages(50)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``corpus.jsonl``, the model ``bert`` and the indexes ``bm25`` and ``fused``; tests work on copies."""
    folder = tmp_path_factory.mktemp("made")
    corpus = write_corpus(folder / "corpus.jsonl", GIVEN)
    built(folder / "bm25", corpus)
    built(folder / "fused", corpus, kind="fused", encoder=EncoderConfig(str(tiny_bert(folder / "bert"))))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an index."""
    return lambda name: Path(shutil.copytree(made / name, tmp_path / name))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(InputError) as raised:
        open_index(folder, **options)
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    return str(raised.value)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("kind", ["bm25", "dense", "fused"])
def test_an_index_is_a_retriever(made: Path, kind: str) -> None:
    index: Retriever = open_index(made / "fused", kind=kind)
    assert index.name == kind
    first, blank, second = index.search(["copper violin", "", "river"], 4)
    assert len(first) == len(second) == 4
    assert blank == []
    assert all(hit.passage in GIVEN for hit in first + second)
    scores = [hit.score for hit in first]
    assert scores == sorted(scores, reverse=True)
    assert index.search([], 3) == []
    assert index.search(["river"], 4)[0] == second
    with pytest.raises(ValueError, match="top_k=0"):
        index.search(["river"], 0)


def test_what_a_server_shows_of_an_index(made: Path) -> None:
    index = open_index(made / "bm25")
    assert (index.name, index.passages) == ("bm25", 50)
    assert index.digest == sha256(made / "bm25" / "manifest.json")


def test_fused_ranks_by_both_parts(made: Path) -> None:
    asked = GIVEN[7].text
    ranks = [
        {
            hit.passage.id: rank
            for rank, hit in enumerate(open_index(made / "fused", kind=kind).search([asked], 50)[0], 1)
        }
        for kind in ("bm25", "dense")
    ]
    for hit in open_index(made / "fused").search([asked], 5)[0]:
        wanted = sum(1 / (60 + found[hit.passage.id]) for found in ranks if hit.passage.id in found)
        assert hit.score == pytest.approx(wanted)


def test_search_effort_can_be_set_on_opening(made: Path, tmp_path: Path) -> None:
    encoder = EncoderConfig(str(made / "bert"))
    options: dict[str, Any] = {"kind": "dense", "encoder": encoder, "faiss": FaissConfig("ivf", nlist=10, nprobe=1)}
    folder = built(tmp_path / "ivf", made / "corpus.jsonl", **options)
    (some,), (every,) = (open_index(folder, nprobe=nprobe).search(["river"], 50) for nprobe in (None, 10))
    assert len(some) < len(every) == 50


def test_what_is_no_index_is_refused(tmp_path: Path, copy: Callable[[str], Path]) -> None:
    assert "no index there" in refusal(tmp_path / "nothing")
    folder = copy("bm25")
    (folder / "manifest.json").write_text('{"files": {}}')
    assert "not of an index" in refusal(folder)
    (folder / "manifest.json").write_text("{")
    assert "damaged" in refusal(folder)
    (folder / "manifest.json").unlink()
    assert "no manifest.json" in refusal(folder)
    (folder / ".partial").mkdir()
    assert "unfinished" in refusal(folder)


def test_a_damaged_manifest_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bm25")
    edit(folder, lambda manifest: manifest["index"].pop("kind"))
    assert "damaged" in refusal(folder)


def test_another_format_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bm25")
    edit(folder, lambda manifest: manifest.update(format=2))
    assert "of format 2, this package reads 1; build it again" in refusal(folder)


@pytest.mark.parametrize(("name", "library"), [("bm25", "bm25s"), ("fused", "faiss")])
def test_another_major_version_of_a_library_is_refused(copy: Callable[[str], Path], name: str, library: str) -> None:
    folder = copy(name)
    edit(folder, lambda manifest: manifest["versions"].update({library: "9.0"}))
    assert f"made with {library} 9.0" in refusal(folder)


def test_a_part_that_is_not_asked_for_need_not_be_readable(copy: Callable[[str], Path]) -> None:
    folder = copy("fused")
    edit(folder, lambda manifest: manifest["versions"].update(faiss="9.0"))
    assert open_index(folder, kind="bm25").search(["river"], 1)[0]


def test_files_that_are_gone_or_cut_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bm25")
    file = folder / "bm25" / "indices.csc.index.npy"
    file.write_bytes(file.read_bytes()[:-4])
    assert "indices.csc.index.npy" in refusal(folder)
    file.unlink()
    assert "missing" in refusal(folder)


def test_changed_bytes_are_found_by_the_check(copy: Callable[[str], Path]) -> None:
    folder = copy("bm25")
    assert open_index(folder, check=True).passages == 50
    with (folder / "passages.bin").open("r+b") as file:
        file.write(b"X")
    assert open_index(folder).passages == 50
    assert "sha256" in refusal(folder, check=True)


def test_a_kind_that_the_index_has_not_is_refused(made: Path) -> None:
    assert "cannot be searched as dense; choose from: bm25" in refusal(made / "bm25", kind="dense")
    assert "choose from: fused, bm25, dense" in refusal(made / "fused", kind="flat")


def test_an_encoder_that_moved_is_accepted_where_it_lies_now(made: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(made / "bert", tmp_path / "first"))
    folder = built(tmp_path / "index", made / "corpus.jsonl", kind="dense", encoder=EncoderConfig(str(model)))
    wanted = open_index(folder).search(["river"], 3)
    moved = model.rename(tmp_path / "second")
    assert "is not there; say with --encoder where it lies" in refusal(folder)
    assert open_index(folder, encoder=str(moved)).search(["river"], 3) == wanted


def test_another_encoder_is_refused(made: Path, tmp_path: Path) -> None:
    other = tiny_bert(tmp_path / "other", seed=1)
    assert "is not the one that made the index" in refusal(made / "fused", encoder=str(other))
    assert "no encoder; leave --encoder out" in refusal(made / "bm25", encoder=str(other))


def test_an_encoder_whose_files_were_changed_is_refused(made: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(made / "bert", tmp_path / "bert"))
    folder = built(tmp_path / "index", made / "corpus.jsonl", kind="dense", encoder=EncoderConfig(str(model)))
    vocabulary = model / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text().replace("river", "stream"))
    assert "was changed since" in refusal(folder)


def test_an_encoder_of_the_hub_is_not_taken_for_another(copy: Callable[[str], Path]) -> None:
    folder = copy("fused")
    edit(folder, lambda manifest: manifest["index"]["encoder"].update(name="intfloat/e5", sha256="", revision="abc"))
    assert "was made with encoder intfloat/e5, not intfloat/e5-base-v2" in refusal(
        folder, encoder="intfloat/e5-base-v2"
    )


def test_the_revision_that_made_the_index_is_loaded_though_the_hub_moved_on(made: Path, tmp_path: Path) -> None:
    """The hub is its cache here: a name, two revisions, and which of them is the latest."""
    repository = tmp_path / "hub" / "models--tests--bert"
    first, second = "1" * 40, "2" * 40
    shutil.copytree(made / "bert", repository / "snapshots" / first)
    tiny_bert(repository / "snapshots" / second, seed=1)
    (repository / "refs").mkdir()
    program = f"""
from pathlib import Path
from small_indexes import built
from tr_grpo.search.encoder import Encoder, EncoderConfig
from tr_grpo.search.opening import open_index
latest = Path({str(repository / "refs" / "main")!r})
for pooling in ("auto", "mean"):
    latest.write_text({first!r})
    out = Path({str(tmp_path)!r}) / pooling
    built(out, Path({str(made / "corpus.jsonl")!r}), kind="dense", encoder=EncoderConfig("tests/bert", pooling=pooling))
    wanted = open_index(out).search(["river"], 5)
    latest.write_text({second!r})
    assert open_index(out).search(["river"], 5) == wanted
assert Encoder(EncoderConfig("tests/bert")).record.revision == {second!r}
"""
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = json.loads((tmp_path / "auto" / "manifest.json").read_text())
    assert manifest["index"]["encoder"]["revision"] == first
