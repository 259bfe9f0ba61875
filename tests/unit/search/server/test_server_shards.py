"""Shards: several servers answer as one index would, or not at all."""

import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_serving import PASSAGES, GatedRetriever, OverlapRetriever, serving

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.passage import Hit, Passage
from tr_grpo.search.server.source import ShardSource
from tr_grpo.search.server.wire import Refusal
from tr_grpo.search.shards import ShardedRetriever, merge

TOKEN = "0123456789abcdef-secret"


class FlatRetriever:
    """Exact inner products, as a flat FAISS index has; a query is the seed of its vector."""

    name = "dense"

    def __init__(self, passages: list[Passage], vectors: np.ndarray) -> None:
        self.documents = passages
        self.passages = len(passages)
        self.vectors = vectors

    def search(self, queries: Any, top_k: int) -> list[list[Hit]]:
        asked = np.stack([np.random.default_rng(int(query)).standard_normal(8) for query in queries]).astype(np.float32)
        found = []
        for scores in asked @ self.vectors.T:
            rows = np.argsort(-scores, kind="stable")[:top_k]
            found.append([Hit(self.documents[row], float(scores[row])) for row in rows])
        return found


@contextmanager
def shards_of(retrievers: list[Any], **settings: Any):
    """The retriever over a server for each."""
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(retriever, **settings)) for retriever in retrievers]
        yield ShardedRetriever([server.url for server in servers], timeout=30, token=settings.get("token")), servers


@pytest.mark.parametrize("number", [1, 2, 3])
def test_flat_shards_equal_one_index(number: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    passages = [Passage(str(row), f"Title {row}", f"text {row}") for row in range(40)]
    whole = FlatRetriever(passages, vectors)
    parts = [FlatRetriever(passages[part::number], vectors[part::number]) for part in range(number)]
    queries = [str(seed) for seed in range(20)]
    with shards_of(parts) as (sharded, _):
        for top_k in (1, 5, 40, 60):
            expected = whole.search(queries, top_k)
            got = sharded.search(queries, top_k)
            assert [[hit.passage for hit in hits] for hits in got] == [
                [hit.passage for hit in hits] for hits in expected
            ]
            for ours, theirs in zip(got, expected, strict=True):
                assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs])
        assert sharded.search([], 3) == []


def test_a_server_over_shards_serves_the_same_wire() -> None:
    with shards_of([OverlapRetriever(PASSAGES[:2]), OverlapRetriever(PASSAGES[2:])], token=TOKEN) as (_, servers):
        opened = ShardSource(tuple(server.url + "/retrieve" for server in servers), 30, TOKEN).open()
        with serving(opened.retriever, facts=opened.facts) as front:
            queries = ["town in Velden", "müllér", "unknown"]
            expected = OverlapRetriever().search(queries, 3)
            documents = [[item["document"] for item in items] for items in front.search(queries)]
            assert documents == [[hit.passage.wire() for hit in hits] for hits in expected]
            ready = front.get("/ready").json()
            assert (ready["ready"], ready["retriever"], ready["passages"]) == (True, "overlap", 5)
            assert [shard["passages"] for shard in ready["shards"]] == [2, 3]


def test_a_missing_shard_is_an_error_that_names_it_and_no_partial_result() -> None:
    with serving() as kept:
        with serving() as lost:
            opened = ShardSource((kept.url, lost.url), 30).open()
        with serving(opened.retriever, facts=opened.facts) as front:
            answer = front.post({"queries": ["town"]})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert lost.url in answer.json()["detail"]
            ready = front.get("/ready")
            assert (ready.status_code, lost.url in ready.text) == (503, True)
            assert front.get("/health").status_code == 200


def test_a_shard_that_does_not_answer_in_time_is_missing() -> None:
    retriever = GatedRetriever()
    with serving(retriever) as held:
        with pytest.raises(Refusal, match="does not answer"):
            ShardedRetriever([held.url], timeout=0.2).search(["town"], 1)
        retriever.gate.set()


def test_a_shard_that_was_started_again_costs_nothing() -> None:
    with serving() as first:
        sharded = ShardedRetriever([first.url], timeout=30)
        before = sharded.search(["town"], 3)
        port = int(first.url.rpartition(":")[2])
    with serving(port=port):
        assert sharded.search(["town"], 3) == before


@pytest.mark.parametrize("token", [None, "another-token-0123456789"])
def test_a_wrong_token_is_an_error(token: str | None) -> None:
    with serving(token=TOKEN) as server, pytest.raises(Refusal, match="401"):
        ShardedRetriever([server.url], timeout=30, token=token).search(["town"], 1)


def test_shards_of_different_kinds_are_not_ready() -> None:
    other = OverlapRetriever()
    other.name = "another"
    with serving() as one, serving(other) as two:
        opened = ShardSource((one.url, two.url), 30).open()
        with serving(opened.retriever, facts=opened.facts) as front:
            ready = front.get("/ready")
    assert ready.status_code == 503
    assert "another, overlap" in ready.json()["detail"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"no json", "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "no result"),
        (b'{"result":[[]]}', "1 of 2 queries"),
        (b'{"result":[[{"id":"1","contents":"x"}],[]]}', "no result"),
        (b'{"result":[[{"document":{"id":"1"},"score":1.0}],[]]}', "no result"),
    ],
)
def test_an_engine_that_answers_otherwise_is_an_error(answer: bytes, message: str) -> None:
    class Engine(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Engine) as engine:
        threading.Thread(target=engine.serve_forever, daemon=True).start()
        with pytest.raises(Refusal, match=message):
            ShardedRetriever([f"http://127.0.0.1:{engine.server_port}"], timeout=30).search(["a", "b"], 1)
        engine.shutdown()


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (["localhost:8000"], "must begin with http"),
        (["http://a:1", "http://a:1/retrieve"], "named twice"),
    ],
)
def test_addresses_that_cannot_be_are_refused(urls: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ShardedRetriever(urls, timeout=1)


SCORES = st.lists(st.integers(0, 5).map(float), max_size=6).map(lambda scores: sorted(scores, reverse=True))


@given(st.lists(SCORES, min_size=1, max_size=4), st.integers(1, 8))
def test_merging_is_sorting_by_score_with_ties_in_the_order_of_the_shards(lists: list[list[float]], top_k: int) -> None:
    hits = [
        [Hit(Passage(f"{shard}.{rank}", "", ""), score) for rank, score in enumerate(scores)]
        for shard, scores in enumerate(lists)
    ]
    flat = [hit for of_shard in hits for hit in of_shard]
    assert merge(hits, top_k) == sorted(flat, key=lambda hit: -hit.score)[:top_k]
