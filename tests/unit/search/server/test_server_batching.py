"""Micro-batches, cache and queue: no answer depends on who else asks, and overload is said at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from search_serving import GatedRetriever, OverlapRetriever, Running, serving, until

from tr_grpo.search.passage import Hit
from tr_grpo.search.server.batching import Batcher
from tr_grpo.search.server.cache import OVERHEAD, AnswerCache, Key
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.metrics import Metrics
from tr_grpo.search.server.wire import Refusal, encode

WORDS = ["velden", "is", "a", "town", "orlia.", "sea.", "mia", "unknown"]
REQUESTS = st.lists(
    st.tuples(
        st.lists(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join), max_size=5),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=12,
)


async def ask_all(retriever: Any, asked: list[tuple[list[str], int, bool]], **limits: int) -> list[list[bytes]]:
    batcher = Batcher(retriever, Limits(**limits), Metrics())
    try:
        return await asyncio.gather(*(batcher.search(*one) for one in asked))
    finally:
        batcher.close()


@settings(max_examples=60)
@given(REQUESTS, st.integers(1, 6), st.sampled_from([0, 1]))
def test_concurrent_answers_are_those_of_one_request_at_a_time(
    asked: list[tuple[list[str], int, bool]], max_batch: int, cache_mb: int
) -> None:
    alone = OverlapRetriever()
    expected = [[encode(hits, scored) for hits in alone.search(queries, k)] for queries, k, scored in asked]
    retriever = OverlapRetriever()
    assert asyncio.run(ask_all(retriever, asked, max_batch=max_batch, cache_mb=cache_mb)) == expected
    assert all(len(batch) <= max_batch for batch in retriever.batches)


def post_in_background(pool: ThreadPoolExecutor, server: Running, *queries: str, topk: int = 3) -> Any:
    return pool.submit(server.post, {"queries": list(queries), "topk": topk, "return_scores": True})


@pytest.fixture
def gated():
    """A server whose retriever is at its gate with the query ``first``, and threads to ask it more."""
    retriever = GatedRetriever()
    with (
        serving(retriever, max_waiting=4, max_queries=4, max_batch=3, cache_mb=1) as server,
        ThreadPoolExecutor(16) as pool,
    ):
        first = post_in_background(pool, server, "first")
        assert retriever.entered.acquire(timeout=30)
        try:
            yield server, pool, first
        finally:
            retriever.gate.set()


def test_requests_that_arrive_during_a_batch_become_the_next_one(gated: Any) -> None:
    server, pool, first = gated
    others = [post_in_background(pool, server, word, topk=2) for word in ("sea.", "sea.", "town")]
    until(lambda: server.metric("waiting_queries") == 4)
    server.retriever.gate.set()
    assert [other.result().status_code for other in [first, *others]] == [200] * 4
    assert server.retriever.batches[0] == ["first"]
    assert sorted(server.retriever.batches[1]) == ["sea.", "town"]  # one search for two who ask the same
    assert len(server.retriever.batches) == 2


def test_other_top_k_is_another_batch(gated: Any) -> None:
    server, pool, _ = gated
    others = [post_in_background(pool, server, "town", topk=k) for k in (1, 2)]
    until(lambda: server.metric("waiting_queries") == 3)
    server.retriever.gate.set()
    assert [len(other.result().json()["result"][0]) for other in others] == [1, 2]
    assert server.retriever.batches[1:] == [["town"], ["town"]]


def test_full_queue_answers_503_at_once_and_serves_again_afterwards(gated: Any) -> None:
    server, pool, first = gated
    waiting = [post_in_background(pool, server, word) for word in ("a", "b", "c")]
    until(lambda: server.metric("waiting_queries") == 4)
    refused = server.post({"queries": ["d"]})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "waiting" in refused.json()["detail"]
    assert server.get("/health").status_code == 200
    assert not any(answer.done() for answer in [first, *waiting])
    server.retriever.gate.set()
    assert [answer.result().status_code for answer in [first, *waiting]] == [200] * 4
    assert server.post({"queries": ["d"]}).status_code == 200
    assert server.metric("waiting_queries") == 0
    assert server.metric("requests_total") == 6


def test_deadline_answers_504_and_gives_the_place_back() -> None:
    retriever = GatedRetriever()
    with serving(retriever, deadline=0.05, max_waiting=2, max_queries=2) as server:
        answers = [server.post({"queries": [query]}) for query in ("held", "queued", "queued too")]
        assert [answer.status_code for answer in answers] == [504] * 3
        assert "0.05 s" in answers[0].json()["detail"]
        until(lambda: server.get("/ready").status_code == 503)  # busy for longer than any request may take
        retriever.gate.set()
        until(lambda: server.metric("waiting_queries") == 0)
        assert server.get("/ready").status_code == 200
        assert retriever.batches == [["held"]]  # nobody waited for the others any more


class FaultyRetriever(OverlapRetriever):
    """Cannot stand one word, as a tokeniser may not."""

    def search(self, queries: Any, top_k: int) -> list[list[Hit]]:
        if "short" in queries:
            return super().search(queries, top_k)[:-1]
        if "bad" in queries:
            raise KeyError("/secret/path")
        return super().search(queries, top_k)


def test_a_retriever_s_exception_is_500_counted_and_survived() -> None:
    with serving(FaultyRetriever()) as server:
        answer = server.post({"queries": ["bad"]})
        assert answer.status_code == 500
        assert "KeyError" in answer.json()["detail"]
        assert "secret" not in answer.text
        assert server.post({"queries": ["town", "short"]}).status_code == 500
        assert server.search(["town"])[0]
        assert server.metric("retriever_failures_total") == 2
        assert server.metric("waiting_queries") == 0


def test_a_bad_query_fails_its_own_request_only() -> None:
    async def mixed() -> list[Any]:
        batcher = Batcher(FaultyRetriever(), Limits(), Metrics())
        held = asyncio.ensure_future(batcher.search(["sea."], 1, False))  # so that the others share a batch
        asked = [batcher.search([query], 1, False) for query in ("town", "bad", "velden")]
        answers = await asyncio.gather(held, *asked, return_exceptions=True)
        batcher.close()
        return answers

    answers = asyncio.run(mixed())
    assert [type(answer) for answer in answers] == [list, list, KeyError, list]


def test_a_known_query_is_not_searched_again_and_the_answer_is_the_same() -> None:
    with serving() as server:
        bodies = [
            {"queries": ["town", "sea."], "topk": 2, "return_scores": scored} for scored in (True, False, True, False)
        ]
        answers = [server.post(body).content for body in bodies]
        assert answers[0] == answers[2] != answers[1] == answers[3]
        assert server.retriever.batches == [["town", "sea."]] * 2
        assert server.post({"queries": ["town"], "topk": 1}).json()["result"][0].__len__() == 1
        assert server.metric("cached_queries_total") == 4
        assert server.metric("queries_total") == 9


def test_cache_keeps_the_recently_used_within_its_bytes() -> None:
    cache = AnswerCache(1)
    size = 100_000
    fitting = (1 << 20) // (size + OVERHEAD + 4 * 2)
    keys = [Key(f"{number:02}", 3, True) for number in range(fitting + 1)]
    for key in keys[:-1]:
        cache.put(key, b"x" * size)
    assert cache.get(keys[0]) is not None
    cache.put(keys[-1], b"y" * size)
    assert cache.get(keys[1]) is None, "the least recently used has to go"
    assert all(cache.get(key) for key in [keys[0], *keys[2:]])
    assert cache.get(Key(keys[0].query, 4, True)) is None
    assert cache.get(Key(keys[0].query, 3, False)) is None


def test_cache_refuses_what_is_larger_than_itself_and_can_be_off() -> None:
    cache = AnswerCache(1)
    cache.put(Key("small", 1, True), b"[]")
    cache.put(Key("large", 1, True), b"x" * (2 << 20))
    assert (cache.get(Key("large", 1, True)), cache.get(Key("small", 1, True))) == (None, b"[]")
    off = AnswerCache(0)
    off.put(Key("small", 1, True), b"[]")
    assert off.get(Key("small", 1, True)) is None


def test_a_request_larger_than_a_batch_is_searched_in_parts() -> None:
    with serving(max_batch=2) as server:
        assert len(server.search([str(number) for number in range(5)])) == 5
        assert server.retriever.batches == [["0", "1"], ["2", "3"], ["4"]]


def test_a_request_that_could_never_be_accepted_is_no_setting() -> None:
    with pytest.raises(ValueError, match="max-waiting"):
        Limits(max_waiting=10, max_queries=11)
    with pytest.raises(ValueError, match="--deadline"):
        Limits(deadline=0)
    with pytest.raises(ValueError, match="--default-top-k 9"):
        Limits(default_top_k=9, max_top_k=8)


def test_unavailable_shards_are_503_not_500() -> None:
    class Away(OverlapRetriever):
        def search(self, queries: Any, top_k: int) -> list[list[Hit]]:
            raise Refusal(503, "shard http://a does not answer", {"Retry-After": "1"})

    with serving(Away()) as server:
        answer = server.post({"queries": ["town"]})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert requests.get(server.url + "/health").status_code == 200
