"""Clients that are slow, silent, too loud or gone: each is cut or told, and none holds anything for long."""

import json
import socket
import threading
import time

import pytest
import requests
from search_serving import GatedRetriever, OverlapRetriever, Running, serving, until

from tr_grpo.search.passage import Passage

TOKEN = "0123456789abcdef-secret"
GOOD = b'{"queries":["town"],"topk":1}'


def head(length: int | None, *more: str) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join(["POST /retrieve HTTP/1.1", "Host: x", size, *more, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes, or resets, the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.fixture(scope="module")
def server():
    with serving(read_timeout=0.3, idle_timeout=1.0, max_body_bytes=1000, max_header_bytes=4000) as running:
        yield running


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /retr", head(100), head(100) + b'{"quer', head(None) + b'5\r\n{"que\r\n', b"\r\n"],
    ids=["silent", "request line", "headers", "body", "chunked body", "empty line"],
)
def test_a_request_that_does_not_end_is_cut(server: Running, sent: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"0.3 s" in answer


def test_a_client_that_drips_is_cut_as_well(server: Running) -> None:
    """Each byte arrives in time; the request as a whole does not."""
    with server.connect() as connection:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"X")
                except OSError:
                    return

        connection.sendall(head(1000)[:-2] + b"X-Drip: ")
        dripping = threading.Thread(target=drip)
        dripping.start()
        answer = read_all(connection)
        stop.set()
        dripping.join()
    assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""


def test_idle_connections_are_closed_and_used_ones_kept(server: Running) -> None:
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(head(len(GOOD)) + GOOD)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\r\n")  # no request, but uvicorn would wait for ever
        assert b" 200 " not in read_all(connection)


def test_a_body_that_is_too_long_is_refused_before_it_is_read(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(10**9))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'{"detail":"the body has more than 1000 bytes"}')


def test_a_chunked_body_is_counted_while_it_is_read(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(None))
        for _ in range(11):
            connection.sendall(b"64\r\n" + b" " * 100 + b"\r\n")  # 1100 bytes, and no end in sight
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        read_all(connection)  # closed in the end, though the body never ends


def test_the_connection_serves_on_after_a_refused_body(server: Running) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(server.url + "/retrieve", data=b" " * 2000).status_code == 413
            assert session.post(server.url + "/retrieve", data=GOOD).status_code == 200


def test_endless_headers_are_refused(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(5)[:-2] + b"X-Long: " + b"x" * 8000)
        assert read_all(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "junk", [b"\x00" * 50, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\n"]
)
def test_what_is_no_http_is_refused(server: Running, junk: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(junk + b"\r\n\r\n")
        assert b" 200 " not in read_all(connection)
    assert server.search(["town"])[0]


def test_clients_that_hang_up_leave_nothing_behind() -> None:
    retriever = GatedRetriever()
    with serving(retriever, cache_mb=0) as server:
        connections = [server.connect() for _ in range(20)]
        for number, connection in enumerate(connections):
            connection.sendall((head(len(GOOD)) + GOOD)[: -5 if number % 2 else None])
        assert retriever.entered.acquire(timeout=30)
        for connection in connections:
            connection.close()
        until(lambda: server.metric("hang_ups_total") == 10)
        retriever.gate.set()
        until(lambda: server.metric("waiting_queries") == 0)
        assert server.search(["town"])[0]


def test_a_client_that_does_not_read_its_answer_is_cut() -> None:
    """Its answer exceeds what the kernel and the server will hold for it."""
    passages = [Passage(str(row), "", "word " + "x" * 200_000) for row in range(100)]
    with serving(OverlapRetriever(passages), read_timeout=0.3) as server, server.connect() as connection:
        body = b'{"queries":["word"],"topk":100}'
        connection.sendall(head(len(body)) + body)
        until(lambda: server.metric("requests_total") == 1)
        threading.Event().wait(1.0)
        received = len(read_all(connection))
    assert received < 100 * 200_000


def test_a_client_that_reads_slowly_but_on_gets_its_whole_answer() -> None:
    """It takes longer than a client may stand still, with room for a machine that stands still itself."""
    passages = [Passage(str(row), "", "word " + "x" * 2_000) for row in range(100)]
    with serving(OverlapRetriever(passages), read_timeout=3.0) as server, server.connect() as connection:
        body = json.dumps({"queries": [f"word {number}" for number in range(200)], "topk": 100}).encode()
        connection.sendall(head(len(body), "Connection: close") + body)
        received, began = 0, time.monotonic()
        while part := connection.recv(1 << 19):
            received += len(part)
            time.sleep(0.06)
        assert time.monotonic() - began > 3.0
    assert received > 200 * 100 * 2_000


def test_connections_above_the_limit_are_told_to_come_back() -> None:
    with serving(max_connections=3) as server:
        held = [server.connect() for _ in range(3)]
        for connection in held:  # answered, so certainly accepted before the next one comes
            connection.sendall(head(len(GOOD)) + GOOD)
            assert b" 200 " in connection.recv(65536)
        with server.connect() as one_more:
            answer = read_all(one_more)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        for connection in held:
            connection.close()
        until(lambda: b" 200 " in ask_once(server))


def ask_once(server: Running) -> bytes:
    with server.connect() as connection:
        connection.sendall(head(len(GOOD), "Connection: close") + GOOD)
        return read_all(connection)


def test_the_token_opens_everything_but_health_is_open() -> None:
    with serving(token=TOKEN) as server:
        paths = ["/ready", "/metrics", "/docs", "/openapi.json", "/retrieve", "/nowhere"]
        for authorization in (None, TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer é"):
            headers = {"Authorization": authorization.encode()} if authorization else {}
            assert {server.get(path, headers=headers).status_code for path in paths} == {401}
            refused = server.post({"queries": ["town"]}, headers=headers)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert server.post({"queries": ["town"]}, headers=right).status_code == 200
        assert server.get("/ready", headers=right).status_code == 200
        assert server.get("/health").status_code == 200
