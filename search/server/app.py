"""The application of one worker: /retrieve, /health, /ready, /metrics, and the pages that describe them."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic.json_schema import models_json_schema
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tr_grpo.search.server.batching import Batcher
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.metrics import Metrics
from tr_grpo.search.server.retrieve import RetrieveEndpoint, send_json
from tr_grpo.search.server.source import Opened
from tr_grpo.search.server.wire import ErrorResponse, Refusal, SearchRequest, SearchResponse

VERSION = "1"
REFUSALS = {
    "401": "The bearer token is missing or wrong.",
    "413": "The body is too long.",
    "422": "The body is not such a request, or one above a limit.",
    "500": "The retriever failed.",
    "503": "Too many queries wait already, or a shard is out of reach; come back after Retry-After.",
    "504": "No answer within the server's deadline.",
}


class BearerToken:
    """Lets through who knows the token; /health is open, so that what watches the process needs no secret."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = Refusal(401, "this server wants its bearer token", {"WWW-Authenticate": "Bearer"})
                return await send_json(send, refusal.status, [refusal.content()], refusal.headers)
        return await self._app(scope, receive, send)


def build_app(opened: Opened, limits: Limits, token: str | None = None) -> FastAPI:
    """The application that serves ``opened``; made where its event loop runs."""
    metrics = Metrics()
    batcher = Batcher(opened.retriever, limits, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    app = FastAPI(title="tr-grpo search", version=VERSION, lifespan=lifespan, redoc_url=None)
    if token is not None:
        app.add_middleware(BearerToken, token=token)

    @app.get("/health", summary="The process lives")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="What is served", responses={503: {"model": ErrorResponse}})
    async def ready() -> Response:
        try:
            busy = batcher.busy_seconds()
            if busy > limits.deadline:
                raise Refusal(503, f"the retriever has been busy with one batch for {busy:.0f} s")
            return JSONResponse({"ready": True, **await opened.facts()})
        except Refusal as refusal:
            return Response(refusal.content(), refusal.status, media_type="application/json")

    @app.get("/metrics", summary="Counters of all workers, for Prometheus", response_class=PlainTextResponse)
    def numbers() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    app.router.routes.append(Route("/retrieve", RetrieveEndpoint(batcher, limits, metrics), methods=["POST"]))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description of its own routes, and /retrieve's, which FastAPI does not read."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        reference = "#/components/schemas/{model}"
        models = [(model, "validation") for model in (SearchRequest, SearchResponse, ErrorResponse)]
        schemas = models_json_schema(models, ref_template=reference)[1]["$defs"]  # type: ignore[arg-type]
        schema.setdefault("components", {}).setdefault("schemas", {}).update(schemas)

        def json_of(model: str) -> dict[str, Any]:
            return {"application/json": {"schema": {"$ref": reference.format(model=model)}}}

        answers = {"200": {"description": "The passages", "content": json_of("SearchResponse")}}
        for status, description in REFUSALS.items():
            answers[status] = {"description": description, "content": json_of("ErrorResponse")}
        schema["paths"]["/retrieve"] = {
            "post": {
                "summary": "The best passages for each query",
                "operationId": "retrieve",
                "requestBody": {"required": True, "content": json_of("SearchRequest")},
                "responses": answers,
            }
        }
        app.openapi_schema = schema
    return app.openapi_schema
