"""uvicorn's HTTP protocol with what it lacks: limits for clients that are slow, silent or too many.

uvicorn closes idle connections between requests. It waits for ever for a request's end and for a client to read its
answer, takes headers of any length, and accepts connections until the process has no file left.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.wire import RETRY_AFTER, Headers, Refusal

LAST_LOOK = 0.05
"""Seconds in which a server that stops still takes what its clients had sent when it was told to."""


class ServerConfig(Config):
    """uvicorn's configuration, and the limits for the connections."""

    limits: Limits = Limits()


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    config: ServerConfig
    _timer: TimerHandle | None = None  # until the request is whole
    _write_timer: TimerHandle | None = None  # until the client reads on
    _head_bytes = 0  # of the request that is being read; -1 once its headers are complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._limits = self.config.limits
        if len(self.connections) > self._limits.max_connections:
            self._refuse(Refusal(503, f"{self._limits.max_connections} connections are open already", RETRY_AFTER))
        else:
            self._arm(self._limits.read_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.resume_writing()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._timer is None and not self._answering():
            self._arm(self._limits.read_timeout)
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > self._limits.max_header_bytes and not self.transport.is_closing():
            self._refuse(Refusal(431, f"the headers have more than {self._limits.max_header_bytes} bytes"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._timer is None:
            self._arm(self._limits.read_timeout)

    def on_headers_complete(self) -> None:
        self._head_bytes = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._disarm()
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            # Answered before its body's end, as a body that is too long is: uvicorn has dropped its idle timer.
            self._arm(self._limits.idle_timeout)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._limits.read_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Abort, as closing would wait for a client that does not read the end of its answer."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Called when the server stops. A request that has arrived but was not looked at yet is still answered."""
        self.loop.call_later(LAST_LOOK, self._shutdown_now)

    def _shutdown_now(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _answering(self) -> bool:
        """Whether a whole request is waiting for its answer's end."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._answering() and self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(Refusal(408, f"the request was not whole after {self._limits.read_timeout:g} s"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer outside the application, and close."""
        content = refusal.content()
        headers: Headers = {
            "content-type": "application/json",
            "content-length": str(len(content)),
            "connection": "close",
            **refusal.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[refusal.status] + lines.encode() + b"\r\n" + content)
        self.transport.close()


def uvicorn_config(app: Any, limits: Limits, **more: Any) -> ServerConfig:
    """uvicorn's configuration for the search application or its factory."""
    config = ServerConfig(
        app,
        http=BoundedProtocol,
        ws="none",
        loop="uvloop",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(limits.idle_timeout)),
        timeout_graceful_shutdown=max(1, round(limits.shutdown_timeout)),
        **more,
    )
    config.limits = limits
    return config
