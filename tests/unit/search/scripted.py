"""A real HTTP server whose answers a test scripts, and a policy whose turns it scripts."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from verl.workers.rollout.replica import TokenOutput

Handler = Callable[[web.Request], object]


@dataclass
class ScriptedServer:
    """Serves ``/retrieve`` on a free port of the loopback; ``answers`` are used up in order, the last one stays."""

    answers: list[Handler] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner: web.AppRunner | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; after ``stop``, on the same port again."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        """Close the port and all connections."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/retrieve", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        handler = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = handler(request)
        return await answer if asyncio.iscoroutine(answer) else answer


def found(*contents: str) -> Handler:
    """An answer with these passages, scores falling."""
    hits = [{"document": {"id": str(n), "contents": text}, "score": -float(n)} for n, text in enumerate(contents)]
    return lambda request: web.json_response({"result": [hits]})


def status(code: int, text: str = "{}", **headers: str) -> Handler:
    """An answer with this status."""
    return lambda request: web.Response(
        status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


class ScriptedPolicy:
    """Samples the given turns, one a call, cut to ``max_tokens`` as vLLM does."""

    def __init__(self, turns: Sequence[list[int]], logprobs: bool) -> None:
        self.turns = list(turns)
        self.logprobs = logprobs
        self.requests: list[dict[str, Any]] = []

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict, **_: Any) -> TokenOutput:
        self.requests.append({"id": request_id, "prompt": list(prompt_ids), **sampling_params})
        ids = self.turns.pop(0)[: sampling_params.get("max_tokens")]
        step = len(self.requests)
        return TokenOutput(
            token_ids=ids,
            log_probs=[-float(step)] * len(ids) if self.logprobs else None,
            num_preempted=0,
            extra_fields={"min_global_steps": step, "max_global_steps": step},
        )
