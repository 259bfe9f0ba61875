"""The whole way: an index on disk, `tr-grpo serve-search` in processes of its own, Search-R1's request."""

import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from search_serving import program, serving
from typer.testing import CliRunner

from tr_grpo.search.index_command import app
from tr_grpo.search.opening import open_index
from tr_grpo.search.passage import Hit
from tr_grpo.search.shards import ShardedRetriever

SERVE = "import typer; from tr_grpo.search.serve_command import serve_search; typer.run(serve_search)"
WORDS = ["river", "castle", "baker", "harbour", "orchard", "winter", "bridge", "market"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole``, and the same passages dealt over ``first`` and ``second``."""
    folder = tmp_path_factory.mktemp("index")
    corpus = folder / "corpus.jsonl"
    with corpus.open("w") as file:
        for row in range(60):
            text = " ".join(WORDS[(row * step) % len(WORDS)] for step in range(1, 2 + row % 7))
            file.write(json.dumps({"id": str(row), "contents": f'"Place {row}"\n{text}'}) + "\n")
    for name, shard in (("whole", "0/1"), ("first", "0/2"), ("second", "1/2")):
        arguments = ["build", "--corpus", str(corpus), "--out", str(folder / name), "--kind", "bm25", "--shard", shard]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    return folder


QUERIES = ["the castle by the river", "winter market", "nothing that is there", "place 7"]


def test_served_hits_are_those_of_the_index_opened_in_process(index: Path) -> None:
    expected = [
        [{"document": hit.passage.wire(), "score": hit.score} for hit in hits]
        for hits in open_index(index / "whole").search(QUERIES, 5)
    ]
    with program("-c", SERVE, "--index", str(index / "whole"), "--port", "0", "--workers", "2") as server:
        assert server.search(QUERIES, 5) == expected
        ready = server.get("/ready").json()
        assert (ready["ready"], ready["retriever"], ready["passages"]) == (True, "bm25", 60)
        assert len(ready["manifest_sha256"]) == 64
        assert server.stop() == 0


def test_bm25_shards_score_as_one_index(index: Path) -> None:
    whole, first, second = (open_index(index / name) for name in ("whole", "first", "second"))
    with serving(first) as one, serving(second) as two:
        found = ShardedRetriever([one.url, two.url], timeout=30).search(QUERIES, 60)
    for ours, theirs in zip(found, whole.search(QUERIES, 60), strict=True):
        assert [hit.score for hit in ours] == [hit.score for hit in theirs]
        assert sorted(ours, key=place) == sorted(theirs, key=place)  # equal scores may stand in another order


def test_an_engine_of_one_s_own_is_served_as_the_document_shows(tmp_path: Path) -> None:
    document = Path(__file__).parents[4] / "docs" / "search_server.md"
    code = document.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = tmp_path / "my_engine.py"
    file.write_text(code.replace("8001", str(port)).replace("passages.db", str(tmp_path / "passages.db")))
    with closing(sqlite3.connect(tmp_path / "passages.db")) as database:
        database.execute("CREATE VIRTUAL TABLE passages USING fts5(id UNINDEXED, title, text)")
        database.executemany(
            "INSERT INTO passages VALUES (?, ?, ?)", [("1", "Velden", "A town."), ("2", "Orlia", "A sea.")]
        )
        database.commit()
    with program(str(file)) as server:
        assert [[item["document"]["id"] for item in items] for items in server.search(["the town?", "a", "", '"'])] == [
            ["1"],
            ["1", "2"],
            [],
            [],
        ]
        assert server.get("/ready").json() == {"ready": True, "retriever": "fts5"}


def place(hit: Hit) -> tuple[float, str]:
    return hit.score, hit.passage.id
