"""A corpus past one machine: servers that hold a part each, asked at once and merged by score.

A shard is anything that speaks ``/retrieve`` with scores, `tr-grpo serve-search` or an engine of the user's own
behind it. All shards answer, or the search fails: a partial result would look like a whole one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from itertools import islice
from typing import Any

import aiohttp
import orjson

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.passage import Hit, Passage
from tr_grpo.search.server.wire import RETRY_AFTER, Refusal

Body = dict[str, Any]


class ShardedRetriever:
    """A Retriever over servers. Scores have to compare between shards: same kind of index, same settings.

    BM25 and dense scores do (docs/search_server.md). A fused index's scores are made of ranks within its shard: as
    passages are dealt out in turn, the n shards' best stand beside each other, which is the order of one index up to
    the order within groups of n.
    """

    name = "shards"

    def __init__(self, urls: Sequence[str], timeout: float, token: str | None = None) -> None:
        """``urls`` with or without ``/retrieve``; ``timeout`` in seconds, for one batch."""
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise InputError(f"--shard {url} must begin with http:// or https://")
        self._bases = [url.rstrip("/").removesuffix("/retrieve") for url in urls]
        if len(set(self._bases)) < len(self._bases):
            raise InputError("--shard: a shard is named twice, and its passages would be found twice")
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Ask all shards; raises Refusal (503), which names the first one that did not answer."""
        if not queries:
            return []
        # A loop and connections for each batch: nobody watches idle ones between two batches, so a shard that was
        # started again would cost a failure. What the other shards still owe is cancelled when one fails.
        return asyncio.run(self._search(list(queries), top_k))

    async def facts(self) -> Body:
        """What the shards' /ready say together; raises Refusal (503) if one is not ready, or they do not fit."""
        async with self._session() as session:
            shards = await asyncio.gather(*(self._ready(session, base) for base in self._bases))
        names = sorted({shard["retriever"] for shard in shards})
        if len(names) > 1:
            raise Refusal(503, f"the shards' scores do not compare: they serve {', '.join(names)}")
        known = [shard["passages"] for shard in shards if shard["passages"] is not None]
        return {"retriever": names[0], "passages": sum(known) if len(known) == len(shards) else None, "shards": shards}

    async def _search(self, queries: list[str], top_k: int) -> list[list[Hit]]:
        body = orjson.dumps({"queries": queries, "topk": top_k, "return_scores": True})
        async with self._session() as session:
            asked = (self._ask(session, base, body, len(queries)) for base in self._bases)
            shards = await asyncio.gather(*asked)
        return [merge(lists, top_k) for lists in zip(*shards, strict=True)]

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)

    async def _ask(self, session: aiohttp.ClientSession, base: str, body: bytes, number: int) -> list[list[Hit]]:
        headers = {"Content-Type": "application/json"}
        answer = await _json(session.post(f"{base}/retrieve", data=body, headers=headers), base)
        try:
            result = [[_hit(entry) for entry in entries] for entries in answer["result"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Refusal(503, f"shard {base} answered what is no result with scores: {error}", RETRY_AFTER) from error
        if len(result) != number:
            raise Refusal(503, f"shard {base} answered {len(result)} of {number} queries", RETRY_AFTER)
        return result

    async def _ready(self, session: aiohttp.ClientSession, base: str) -> Body:
        """A shard's own facts; an engine that has no /ready serves ``unknown`` (its /retrieve is not tried)."""
        answer = await _json(session.get(f"{base}/ready"), base, absent={})
        return {"url": base, "retriever": answer.get("retriever", "unknown"), "passages": answer.get("passages")}


def merge(lists: Sequence[Sequence[Hit]], top_k: int) -> list[Hit]:
    """The ``top_k`` best of lists that fall by score; equal scores in the order of the lists."""
    return list(islice(heapq.merge(*lists, key=lambda hit: -hit.score), top_k))


def _hit(entry: Any) -> Hit:
    return Hit(Passage.of_wire(entry["document"]), float(entry["score"]))


async def _json(request: Any, base: str, absent: Body | None = None) -> Body:
    """The JSON object that a shard answers; ``absent`` where it says 404. Raises Refusal (503) for all else."""
    try:
        async with request as response:
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        fault = f"shard {base} does not answer: {type(error).__name__} {error}".rstrip(" :")
        raise Refusal(503, fault, RETRY_AFTER) from error
    if response.status == 404 and absent is not None:
        return absent
    if response.status != 200:
        line = " ".join(content[:200].decode(errors="replace").split())
        raise Refusal(503, f"shard {base} answered {response.status}: {line}", RETRY_AFTER)
    try:
        answer = orjson.loads(content)
    except ValueError as error:
        raise Refusal(503, f"shard {base} answered no JSON", RETRY_AFTER) from error
    if not isinstance(answer, dict):
        raise Refusal(503, f"shard {base} answered no JSON object", RETRY_AFTER)
    return answer
