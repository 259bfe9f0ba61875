"""What one server takes at most, and how long it waits: of a request, of a connection, of its own retriever."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tr_grpo.data_prep.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits of one worker process. Times are in seconds. InputError names the option of a value that cannot be."""

    max_queries: int = 1024
    """Queries of one request; Search-R1 sends those of a whole rollout batch at once."""
    max_query_chars: int = 4096
    """Characters of one query."""
    max_top_k: int = 100
    """Passages a query."""
    default_top_k: int = 3
    """Passages a query where the request names no ``topk`` (Search-R1's default)."""
    max_body_bytes: int = 4 << 20
    """Bytes of a request's body, counted while it is read."""
    max_header_bytes: int = 32 << 10
    """Bytes of a request's line and headers."""
    max_connections: int = 2048
    """Open connections; further ones are told to come back."""
    max_waiting: int = 4096
    """Queries accepted and not answered yet; a request that would exceed them is told to come back."""
    max_batch: int = 64
    """Queries that the retriever gets at once."""
    deadline: float = 30.0
    """From the request's last byte to its answer."""
    read_timeout: float = 10.0
    """From a request's first byte to its last, and for a client that does not read its answer."""
    idle_timeout: float = 75.0
    """Between two requests of a connection. Longer than clients keep theirs, so that it is they who close."""
    shutdown_timeout: float = 20.0
    """For the requests that are under way when the server is told to stop."""
    cache_mb: int = 64
    """Memory for the answers to queries that come again; 0 turns the cache off."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "cache_mb" else 1 if field.type == "int" else 0.001
            if value < least:
                raise InputError(f"--{field.name.replace('_', '-')} {value} must be at least {least}")
        if self.default_top_k > self.max_top_k:
            raise InputError(f"--default-top-k {self.default_top_k} is above --max-top-k {self.max_top_k}")
        if self.max_waiting < self.max_queries:
            raise InputError(
                f"--max-waiting {self.max_waiting} has no room for one request of --max-queries {self.max_queries}"
            )
