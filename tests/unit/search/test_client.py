"""The client against a real HTTP server: what it asks, what it retries, and how a failure reaches its caller."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from scripted import ScriptedServer, found, status

from tr_grpo.search.client import SearchClient, SearchError, SearchRefused, read_hits, shared_client
from tr_grpo.search.passage import Hit, Passage
from tr_grpo.search.settings import SearchSettings

ADA = Passage("0", "Ada", "Ada was born in London.")


def run(settings: SearchSettings, act: Callable[[SearchClient], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        client = SearchClient(settings)
        try:
            return await asyncio.wait_for(act(client), 30)
        finally:
            await client.close()

    return asyncio.run(go())


def test_it_asks_what_search_r1s_client_asks_and_reads_what_its_server_answers(server: ScriptedServer) -> None:
    hits = run(SearchSettings(server.url, top_k=5), lambda client: client.search("Ada"))
    assert hits == [Hit(ADA, 0.0)]
    assert server.bodies == [{"queries": ["Ada"], "topk": 5, "return_scores": True}]


def test_an_address_may_name_retrieve_itself(server: ScriptedServer) -> None:
    for url in (server.url + "/", server.url + "/retrieve", server.url + "/retrieve/"):
        assert run(SearchSettings(url), lambda client: client.search("Ada"))


def test_no_passage_is_an_answer_and_not_a_failure(server: ScriptedServer) -> None:
    server.answers = [found()]
    assert run(SearchSettings(server.url), lambda client: client.search("nothing")) == []


@pytest.mark.parametrize(
    "fault",
    [
        status(500, "boom"),
        status(502),
        status(503, Retry_After="0"),
        status(504),
        status(200, "not json"),
        status(200, '{"result": []}'),
        status(200, '{"result": [[{"document": {"id": "1"}}]]}'),
    ],
)
def test_what_may_pass_is_tried_again(server: ScriptedServer, fault: Any) -> None:
    server.answers = [fault, fault, found('"Ada"\nAda was born in London.')]
    assert run(SearchSettings(server.url), lambda client: client.search("Ada")) == [Hit(ADA, 0.0)]
    assert len(server.bodies) == 3


def test_past_the_deadline_a_search_fails_and_says_why(server: ScriptedServer) -> None:
    server.answers = [status(500, "the index is gone")]
    with pytest.raises(SearchError, match="500: the index is gone"):
        run(SearchSettings(server.url, timeout_s=0.2, deadline_s=1), lambda client: client.search("Ada"))
    assert len(server.bodies) > 1


def test_a_server_that_is_not_there_is_an_error_that_names_it(server: ScriptedServer) -> None:
    server.stop()
    with pytest.raises(SearchError, match=f"127.0.0.1:{server.port}"):
        run(SearchSettings(server.url, timeout_s=0.2, deadline_s=0.5), lambda client: client.search("Ada"))
    server.start()


def test_a_server_that_hangs_is_cut_off_by_the_timeout(server: ScriptedServer) -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    server.answers = [hang, found('"Ada"\nAda was born in London.')]
    assert run(SearchSettings(server.url, timeout_s=0.2), lambda client: client.search("Ada"))


def test_a_connection_that_breaks_in_mid_answer_is_tried_again(server: ScriptedServer) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"result"')
        request.transport.abort()
        return response

    server.answers = [break_off, found('"Ada"\nAda was born in London.')]
    assert run(SearchSettings(server.url), lambda client: client.search("Ada"))


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_refused_query_is_not_tried_again(server: ScriptedServer, code: int) -> None:
    server.answers = [status(code, "the query is too long")]
    with pytest.raises(SearchRefused, match="too long"):
        run(SearchSettings(server.url), lambda client: client.search("x" * 10_000))
    assert len(server.bodies) == 1


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_wrong_address_or_token_is_not_tried_again_and_says_what_to_check(server: ScriptedServer, code: int) -> None:
    server.answers = [status(code)]
    with pytest.raises(SearchError, match=r"check search\.url and search\.token_file"):
        run(SearchSettings(server.url), lambda client: client.search("Ada"))
    assert len(server.bodies) == 1


def test_retry_after_is_kept(server: ScriptedServer) -> None:
    server.answers = [status(503, Retry_After="1"), found()]
    began = time.monotonic()
    run(SearchSettings(server.url), lambda client: client.search("Ada"))
    assert time.monotonic() - began >= 1  # what the server asked for, whatever the machine's speed


def test_an_overloaded_server_does_not_open_the_circuit(server: ScriptedServer) -> None:
    server.answers = [*[status(503, Retry_After="0")] * 20, found()]

    async def act(client: SearchClient) -> bool:
        await asyncio.gather(*(client.search(str(n)) for n in range(10)))
        return client.breaker.is_open

    # 503 with "0" still asks to be left alone for a moment by the back-off.
    assert run(SearchSettings(server.url), act) is False


def test_a_server_that_goes_away_is_said_once(server: ScriptedServer, capsys: pytest.CaptureFixture) -> None:
    server.answers = [status(500, "broken")]
    settings = SearchSettings(server.url, timeout_s=0.2, deadline_s=1)

    async def act(client: SearchClient) -> list[object]:
        return await asyncio.gather(*(client.search(str(n)) for n in range(50)), return_exceptions=True)

    outcomes = run(settings, act)
    assert all(isinstance(outcome, SearchError) for outcome in outcomes)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("search: ")]
    assert "broken; retrying, each search for up to 1 s" in line


def test_hundreds_of_searches_survive_a_restart_and_do_not_storm_the_server(server: ScriptedServer) -> None:
    """While the server is away one caller at a time tries it; when it is back, every search gets its answer."""

    async def act(client: SearchClient) -> list[list[Hit]]:
        await client.search("warm")
        server.stop()
        searches = asyncio.gather(*(client.search(str(n)) for n in range(300)))
        while not client.breaker.is_open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.start)
        return await searches

    answers = run(SearchSettings(server.url, connections=16), act)
    assert answers == [[Hit(ADA, 0.0)]] * 300
    assert sorted(body["queries"][0] for body in server.bodies) == sorted(["warm", *map(str, range(300))])


def test_several_servers_share_the_searches_and_stand_in_for_each_other(server: ScriptedServer) -> None:
    other = ScriptedServer(answers=[found('"Ada"\nAda was born in London.')])
    try:
        settings = SearchSettings((server.url, other.url))

        async def act(client: SearchClient) -> int:
            await asyncio.gather(*(client.search(str(n)) for n in range(20)))
            other.stop()
            return len(await asyncio.gather(*(client.search(str(n)) for n in range(20))))

        assert run(settings, act) == 20
        assert len(other.bodies) == 10
        assert len(server.bodies) == 30
        other.start()
    finally:
        other.close()


def test_the_token_is_sent(server: ScriptedServer, tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    run(SearchSettings(server.url, token_file=str(token)), lambda client: client.search("Ada"))
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_one_client_for_each_loop_and_settings() -> None:
    async def clients() -> list[SearchClient]:
        made = [shared_client(SearchSettings("http://a", top_k=k)) for k in (3, 3, 4)]
        for client in made:
            await client.close()
        return made

    first = asyncio.run(clients())
    assert first[0] is first[1]
    assert first[1] is not first[2]
    assert asyncio.run(clients())[0] is not first[0]


def test_answers_without_scores_are_read() -> None:
    assert read_hits(orjson.dumps({"result": [[{"id": 7, "contents": "no title"}]]})) == [
        Hit(Passage("7", "", "no title"), 0.0)
    ]
    assert read_hits(orjson.dumps({"result": [[{"title": "T", "text": "x"}]]})) == [Hit(Passage("", "T", "x"), 0.0)]


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"result": 3}', b'{"result": [[], []]}', b'{"result": [[3]]}'])
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_hits(answer)
