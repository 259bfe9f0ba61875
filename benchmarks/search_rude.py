"""Clients that misbehave, for benchmarks/search_soak.py: each kind in a loop, and what the server answers to it.

    python benchmarks/search_rude.py PORT SECONDS

A refused connection is a server that is being started again, and is tried later. Every other answer has to be one of
those that a client's own fault gets; any other is printed and counted as unexpected.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

GOOD = b'{"queries":["a question that nobody waits for"],"topk":3}'
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LONGEST = 60.0
"""Seconds after which a connection that the server neither answers nor closes counts as held."""


def head(length: int | None) -> bytes:
    """Request line and headers; None for a chunked body."""
    size = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return b"POST /retrieve HTTP/1.1\r\nHost: x\r\n" + size + b"\r\n\r\n"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connects, and that is all."""


async def half_a_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stops within the headers."""
    writer.write(head(10)[:40])


async def half_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stops within the body."""
    writer.write(head(len(GOOD)) + GOOD[:20])


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a byte every half second."""
    for byte in head(1000):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.5)


async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks properly and hangs up before the answer."""
    writer.write(head(len(GOOD)) + GOOD)
    await writer.drain()
    writer.transport.abort()


async def not_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks for much, and reads it late."""
    body = json.dumps({"queries": [f"question {number}" for number in range(500)], "topk": 100}).encode()
    writer.write(head(len(body)) + body)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(20)
    writer.transport.abort()


async def junk_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes that are no request."""
    body = random.choice(
        [random.randbytes(300), b"[" * 5000, b'{"queries":1}', b'{"queries":["\\ud800"]}', b"", b"null"]
    )
    writer.write(head(len(body)) + body)


async def junk_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes that are no HTTP."""
    writer.write(random.randbytes(200) + b"\r\n\r\n")


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A chunked body without end."""
    writer.write(head(None))
    for _ in range(200):
        writer.write(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        await writer.drain()


KINDS: list[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = [
    silent,
    half_a_head,
    half_a_body,
    dripping,
    leaving,
    not_reading,
    junk_body,
    junk_bytes,
    endless,
]
EXPECTED = {"closed", "reset", "200", "400", "408", "413", "422", "431", "503"}


async def once(port: int, kind: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> str:
    """What came of one connection."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        await asyncio.sleep(0.5)
        return "refused"
    try:
        async with asyncio.timeout(LONGEST):
            await kind(reader, writer)
            answer = b"" if writer.transport.is_closing() else await reader.read(2000)
    except TimeoutError:
        return "held"
    except OSError:
        return "reset"
    finally:
        writer.transport.abort()
    return answer.split(b" ", 2)[1].decode(errors="replace") if answer.startswith(b"HTTP/1.1 ") else "closed"


async def main(port: int, seconds: float) -> None:
    """Four clients of each kind until the time is over; prints the counts as JSON."""
    until = time.monotonic() + seconds
    counts: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}

    async def loop(kind: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        while time.monotonic() < until:
            counts[kind.__name__][await once(port, kind)] += 1
            await asyncio.sleep(random.random())

    await asyncio.gather(*(loop(kind) for kind in KINDS for _ in range(4)))
    unexpected = sum(
        times
        for of_kind in counts.values()
        for outcome, times in of_kind.items()
        if outcome not in EXPECTED | {"refused"}
    )
    print(json.dumps({"unexpected": unexpected, "outcomes": counts}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
