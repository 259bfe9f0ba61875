"""The wire format, Search-R1's ``/retrieve`` (its search_r1/search/retrieval_server.py), and what refuses a request.

An answer is put together from one JSON list a query, encoded once and kept by the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from pydantic import BaseModel, Field, ValidationError

from tr_grpo.search.passage import Hit
from tr_grpo.search.server.limits import Limits

Headers = Mapping[str, str]
RETRY_AFTER: Headers = {"Retry-After": "1"}


class SearchRequest(BaseModel):
    """The body of ``POST /retrieve``; further keys are ignored."""

    queries: list[str] = Field(description="The queries, each answered on its own.")
    topk: int | None = Field(None, description="Passages a query; null or 0 for the server's default.")
    return_scores: bool = Field(False, description="Wrap each document together with its score.")


class Document(BaseModel):
    """A passage; its title stands in double quotes in the first line of the contents."""

    id: str
    contents: str


class ScoredDocument(BaseModel):
    """A passage with its score; scores compare within one retriever."""

    document: Document
    score: float


class SearchResponse(BaseModel):
    """One list a query, best passage first; scored documents where ``return_scores`` was true."""

    result: list[list[ScoredDocument]] | list[list[Document]]


class ErrorResponse(BaseModel):
    """Every answer that is not 200."""

    detail: str


@dataclass
class Refusal(Exception):
    """A request that gets another answer than 200, with one line that says why."""

    status: int
    detail: str
    headers: Headers = field(default_factory=dict)

    def content(self) -> bytes:
        """The answer's body."""
        return orjson.dumps({"detail": self.detail})


def parse(body: bytes, limits: Limits) -> SearchRequest:
    """The request of ``body``, its ``topk`` resolved; raises Refusal (422) that names the key at fault."""
    try:
        request = SearchRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Refusal(422, f"{where}: {first['msg']}") from None
    if len(request.queries) > limits.max_queries:
        raise Refusal(422, f"queries: {len(request.queries)} in one request; at most {limits.max_queries} are taken")
    for number, query in enumerate(request.queries):
        if len(query) > limits.max_query_chars:
            detail = f"queries.{number}: {len(query)} characters; at most {limits.max_query_chars} are taken"
            raise Refusal(422, detail)
    request.topk = request.topk or limits.default_top_k
    if not 1 <= request.topk <= limits.max_top_k:
        raise Refusal(422, f"topk: {request.topk}; it must be between 1 and {limits.max_top_k}")
    return request


def encode(hits: Sequence[Hit], scored: bool) -> bytes:
    """One query's part of the answer, as JSON."""
    if scored:
        return orjson.dumps([{"document": hit.passage.wire(), "score": hit.score} for hit in hits])
    return orjson.dumps([hit.passage.wire() for hit in hits])


def pieces(parts: Iterable[bytes], size: int = 1 << 16) -> list[bytes]:
    """The whole answer's body in pieces of ``size`` bytes or a part more: one for nearly all answers.

    A long answer goes out piece by piece, as its client reads, and is not copied to be sent.
    """
    found = [b'{"result":[']
    for number, part in enumerate(parts):
        comma = b"," if number else b""
        if len(found[-1]) < size:
            found[-1] += comma + part
        else:
            found.append(comma + part)
    found[-1] += b"]}"
    return found
