"""Search-R1's wire format: what its client sends is understood, and what it gets is what its server would send."""

import json
from typing import Any

import orjson
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from search_serving import PASSAGES, Running, serving

from tr_grpo.search.passage import Hit, Passage
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.wire import ErrorResponse, Refusal, SearchResponse, encode, parse, pieces


@pytest.fixture(scope="module")
def server():
    with serving(max_queries=8, max_query_chars=50, max_top_k=20, max_body_bytes=2000, max_waiting=100) as running:
        yield running


def search_r1_text(retrieval_result: list[dict[str, Any]]) -> str:
    """How Search-R1's client reads an answer (search_r1/llm_agent/generation.py, _passages2string)."""
    text = ""
    for number, item in enumerate(retrieval_result, start=1):
        title, _, rest = item["document"]["contents"].partition("\n")
        text += f"Doc {number}(Title: {title}) {rest}\n"
    return text


def test_search_r1_client_reads_the_answer(server: Running) -> None:
    payload = {"queries": ["Mia Tolan", "nothing known"], "topk": 3, "return_scores": True}
    results = requests.post(server.url + "/retrieve", json=payload).json()["result"]
    assert [search_r1_text(result) for result in results] == [
        'Doc 1(Title: "Mia Tolan") Mia Tolan was born in Velden.\n',
        "",
    ]


def test_bytes_are_those_of_search_r1_s_server(server: Running) -> None:
    """Its FastAPI answer is json.dumps of this structure, without spaces and with characters as they are."""
    answer = server.post({"queries": ["müllér 漢字"], "topk": 1, "return_scores": True})
    document = {"id": "2", "contents": PASSAGES[2].contents}
    score = server.retriever._search("müllér 漢字", 1)[0].score
    expected = {"result": [[{"document": document, "score": score}]]}
    assert answer.content == json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode()
    assert answer.headers["content-type"] == "application/json"
    plain = server.post({"queries": ["müllér 漢字"], "topk": 1}).content
    assert plain == json.dumps({"result": [[document]]}, ensure_ascii=False, separators=(",", ":")).encode()


def test_one_list_a_query_in_the_order_of_the_queries(server: Running) -> None:
    queries = ["Velden", "sea", "Velden", "", "unknown"]
    result = server.search(queries)
    assert [[item["document"]["id"] for item in items] for items in result] == [
        [hit.passage.id for hit in hits] for hits in server.retriever.search(queries, 3)
    ]
    assert result[3] == result[4] == []
    assert server.search([]) == []


@pytest.mark.parametrize("topk", [None, 0])
def test_no_topk_means_the_default(server: Running, topk: int | None) -> None:
    assert len(server.search(["a town is in the orlia"], topk)[0]) == Limits().default_top_k
    assert len(server.post({"queries": ["a town is in the orlia"]}).json()["result"][0]) == Limits().default_top_k


def test_further_keys_and_lax_types_are_taken_as_pydantic_takes_them(server: Running) -> None:
    body = {"queries": ["sea"], "topk": "1", "return_scores": "true", "model": "e5", "n": [1]}
    assert server.post(body).json()["result"][0][0]["document"]["id"] == "1"
    headers = {"Content-Type": "text/plain"}
    assert requests.post(server.url + "/retrieve", data=b'{"queries":["sea"]}', headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"\xff\xfe", "body"),
        (b'"queries"', "body"),
        (b"{}", "queries"),
        (b'{"queries":null}', "queries"),
        (b'{"queries":"sea"}', "queries"),
        (b'{"queries":[1]}', "queries.0"),
        (b'{"queries":["a",null]}', "queries.1"),
        (b'{"queries":["\\ud800"]}', "body"),
        (b'{"queries":["a"],"topk":1.5}', "topk"),
        (b'{"queries":["a"],"topk":-1}', "topk"),
        (b'{"queries":["a"],"topk":21}', "topk"),
        (b'{"queries":["a"],"topk":1e99}', "topk"),
        (b'{"queries":["a"],"topk":NaN}', "topk"),
        (b'{"queries":["a"],"return_scores":7}', "return_scores"),
        (b'{"queries":["1","2","3","4","5","6","7","8","9"]}', "queries"),
        (b'{"queries":["' + b"x" * 51 + b'"]}', "queries.0"),
        (b'{"queries":["' + "é".encode() * 51 + b'"]}', "queries.0"),
        (b"[" * 1900, "body"),
        (b'{"queries":' + b"[" * 900 + b"]" * 900 + b"}", "body"),
    ],
)
def test_what_is_no_request_gets_422_and_one_line_that_names_the_key(server: Running, body: bytes, where: str) -> None:
    answer = requests.post(server.url + "/retrieve", data=body)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert detail.split(":")[0] == where
    assert "\n" not in detail
    assert len(detail) < 300


def test_limits_are_inclusive(server: Running) -> None:
    assert server.post({"queries": ["x" * 50] * 8, "topk": 20}).status_code == 200


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["queries", "topk", "return_scores", "other"])


@given(st.binary(max_size=200) | st.dictionaries(KEYS, JUNK).map(lambda value: json.dumps(value).encode()))
def test_junk_never_gets_500(server: Running, body: bytes) -> None:
    answer = requests.post(server.url + "/retrieve", data=body)
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 422:
        ErrorResponse.model_validate_json(answer.content, strict=True)


@given(
    st.lists(
        st.lists(st.builds(Hit, st.builds(Passage, *[st.text()] * 3), st.floats(-1e9, 1e9)), max_size=3), max_size=3
    ),
    st.booleans(),
    st.sampled_from([1, 1 << 16]),
)
def test_answers_are_read_back_as_they_were(hits: list[list[Hit]], scored: bool, size: int) -> None:
    answer = pieces((encode(of_query, scored) for of_query in hits), size)
    assert size > 1000 or len(answer) >= len(hits)
    body = b"".join(answer)
    result = orjson.loads(body)["result"]
    SearchResponse.model_validate_json(body)
    for entries, of_query in zip(result, hits, strict=True):
        documents = [entry["document"] for entry in entries] if scored else entries
        assert documents == [hit.passage.wire() for hit in of_query]
        if scored:
            assert [entry["score"] for entry in entries] == [hit.score for hit in of_query]


def test_parse_resolves_the_default_and_refuses_more_than_the_maximum() -> None:
    limits = Limits(default_top_k=5, max_top_k=7)
    assert parse(b'{"queries":[]}', limits).topk == 5
    assert parse(b'{"queries":[],"topk":7}', limits).topk == 7
    with pytest.raises(Refusal, match="422"):
        parse(b'{"queries":[],"topk":8}', limits)


def test_openapi_describes_what_is_served(server: Running) -> None:
    schema = server.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/retrieve", "/health", "/ready", "/metrics"}
    post = schema["paths"]["/retrieve"]["post"]
    assert set(post["responses"]) == {"200", "401", "413", "422", "500", "503", "504"}
    schemas = schema["components"]["schemas"]
    assert set(schemas["SearchRequest"]["properties"]) == {"queries", "topk", "return_scores"}
    assert schemas["SearchRequest"]["required"] == ["queries"]
    for content in [post["requestBody"], *post["responses"].values()]:
        assert content["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2] in schemas
    assert server.get("/docs").status_code == 200


def test_health_ready_and_other_paths(server: Running) -> None:
    assert server.get("/health").json() == {"status": "ok"}
    assert server.get("/ready").json() == {
        "ready": True,
        "retriever": "overlap",
        "passages": 5,
        "manifest_sha256": "00",
    }
    assert server.get("/retrieve").status_code == 405
    assert server.post({}, path="/other").status_code == 404
