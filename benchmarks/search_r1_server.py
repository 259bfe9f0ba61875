"""The peer of benchmarks/search.py: a search server built as Search-R1's is, over the same retriever as ours.

After search_r1/search/retrieval_server.py: a FastAPI function without ``async``, which FastAPI runs in its pool of 40
threads; pydantic reads the request and FastAPI writes the answer; BM25 is asked query by query, a dense index with the
queries of one request; nothing is shared between requests. With ``--one-at-a-time`` the function is ``async`` and so
holds the event loop while it searches, as in servers derived from it.

What retrieves differs: Search-R1 has Pyserini and ``datasets`` in place of our index, which is taken to compare the
servers alone. A dense retriever is for one thread at a time, so the pool's threads take turns there.
"""

from __future__ import annotations

import argparse
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from tr_grpo.search.opening import open_index


class QueryRequest(BaseModel):
    """The request."""

    queries: list[str]
    topk: int | None = None
    return_scores: bool = False


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--one-at-a-time", action="store_true")
    given = parser.parse_args()
    retriever = open_index(given.index, kind=given.kind)
    retriever.search(["warm up"], 1)
    turn: Any = nullcontext() if given.kind == "bm25" else threading.Lock()
    app = FastAPI()

    def answer(request: QueryRequest) -> dict[str, Any]:
        top_k = request.topk or 3
        with turn:
            if given.kind == "bm25":
                results = [retriever.search([query], top_k)[0] for query in request.queries]
            else:
                results = retriever.search(request.queries, top_k)
        if request.return_scores:
            wrapped = [[{"document": hit.passage.wire(), "score": hit.score} for hit in hits] for hits in results]
            return {"result": wrapped}
        return {"result": [[hit.passage.wire() for hit in hits] for hits in results]}

    async def answer_alone(request: QueryRequest) -> dict[str, Any]:
        return answer(request)

    app.post("/retrieve", response_model=None)(answer_alone if given.one_at_a_time else answer)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
