"""The ``search`` section of a run's config, as the agent loops and the preflight read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SearchSettings:
    """Where the search servers are, how patient the client is, and what the policy gets to read.

    ValueError names the key of a value that cannot be.
    """

    url: str | tuple[str, ...]
    """Address of a server, or of several that hold the same index; with or without ``/retrieve``."""
    top_k: int = 3
    """Passages a search."""
    max_turns: int = 4
    """Turns in which the policy may search (Search-R1's ``max_turns``); one more, to answer, follows."""
    max_turn_tokens: int | None = None
    """Tokens of one turn of the policy (Search-R1's ``max_response_length``); null: what is left of the response."""
    max_observation_tokens: int = 500
    """Tokens of one observation, tags included; its passages are cut at the end."""
    correct_invalid: bool = True
    """Tell the policy of a turn that neither searches nor answers, and go on (Search-R1); else the trajectory ends."""
    timeout_s: float = 10.0
    """Seconds for one request."""
    deadline_s: float = 120.0
    """Seconds for one search with all its retries. A server that is started again within them costs only time."""
    connections: int = 64
    """Open connections of a process; further searches wait for one of them."""
    token_file: str | None = None
    """A file with the server's bearer token."""

    def __post_init__(self) -> None:
        counts = ["top_k", "max_turns", "max_observation_tokens", "connections"]
        for key in counts if self.max_turn_tokens is None else [*counts, "max_turn_tokens"]:
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"search.{key}={value!r} must be a whole number of 1 or more")
        if not 0 < self.timeout_s <= self.deadline_s:
            raise ValueError(
                f"search.timeout_s={self.timeout_s} must be above 0 and at most search.deadline_s={self.deadline_s}"
            )
        if not self.urls:
            raise ValueError("search.url names no server")
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"search.url={url!r} must begin with http:// or https://")

    @property
    def urls(self) -> tuple[str, ...]:
        """The ``/retrieve`` addresses."""
        given = (self.url,) if isinstance(self.url, str) else self.url
        bases = (url.rstrip("/").removesuffix("/retrieve") for url in given)
        return tuple(f"{base}/retrieve" for base in bases)

    @classmethod
    def read(cls, section: Mapping[str, Any] | None) -> SearchSettings:
        """From the config's ``search`` section; ValueError if it has no url or an unknown key."""
        values = dict(section or {})
        # Read by the replay buffer, not here.
        values.pop("max_failure_share", None)
        if not values.get("url"):
            raise ValueError("search.url is not set, and this agent loop searches")
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"search.{min(unknown)} is no setting; known are {', '.join(f.name for f in fields(cls))}")
        if not isinstance(values["url"], str):
            values["url"] = tuple(values["url"])
        return cls(**values)

    def headers(self) -> dict[str, str]:
        """The authorization header; OSError or ValueError if the token file cannot be used."""
        if self.token_file is None:
            return {}
        token = Path(self.token_file).expanduser().read_text(encoding="utf-8").strip()
        if not token:
            raise ValueError(f"search.token_file={self.token_file} is empty")
        return {"Authorization": f"Bearer {token}"}
