"""Several workers behind one address: what dies is replaced, what was accepted is answered, counters add up."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from search_serving import HERE, Program, program, until


@pytest.fixture(scope="module")
def two():
    with program(workers=2, cache_mb=0) as running:
        until(lambda: len(running.workers()) == 2)
        yield running


def test_metrics_add_up_over_the_workers_and_outlive_them(two: Program) -> None:
    before = two.metric("requests_total")
    for number in range(40):  # a connection each, so that both workers get some
        assert two.post({"queries": [f"town {number}", "sea."]}).status_code == 200
    assert two.metric("requests_total") == before + 40
    for _ in range(5):  # whichever worker is asked
        assert two.metric("requests_total") == before + 40
        assert two.metric("waiting_queries") == 0
    os.kill(two.workers()[0], signal.SIGKILL)
    until(lambda: len(two.workers()) == 2)
    assert two.metric("requests_total") == before + 40


def test_a_killed_worker_is_replaced(two: Program) -> None:
    for _ in range(2):
        killed = two.workers()
        os.kill(killed[0], signal.SIGKILL)
        until(lambda gone=killed[0]: gone not in two.workers() and len(two.workers()) == 2)
        assert two.search(["town"])[0]


def test_sighup_replaces_the_workers_without_a_refused_request(two: Program) -> None:
    old = set(two.workers())
    two.process.send_signal(signal.SIGHUP)

    def replaced() -> bool:
        assert two.search(["town"])[0]
        return len(two.workers()) == 2 and not old & set(two.workers())

    until(replaced)


def test_sigterm_answers_what_was_accepted_and_exits_0() -> None:
    with program(workers=2) as server, ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(server.post, {"queries": [f"slow town {number}"]}) for number in range(16)]

        def accepted() -> bool:
            done = sum(
                answer.done() for answer in answers
            )  # first: what ends meanwhile is then missed, not counted twice
            return done + server.metric("waiting_queries") == 16

        until(accepted)
        assert server.stop(signal.SIGTERM) == 0
        assert [len(answer.result().json()["result"][0]) for answer in answers] == [2] * 16
        with pytest.raises(requests.ConnectionError):
            server.get("/health")


def test_sigint_ends_an_idle_server_with_open_connections() -> None:
    with program() as server, requests.Session() as session:
        assert session.get(server.url + "/health").status_code == 200
        assert server.stop(signal.SIGINT) == 0


def test_a_retriever_that_does_not_come_back_cannot_keep_the_server_from_ending() -> None:
    with program(shutdown_timeout=1) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, {"queries": ["stuck"]})
        until(lambda: server.metric("waiting_queries") == 1)
        assert server.stop(signal.SIGTERM) == 0
        assert (answer.result().status_code, answer.result().headers["Retry-After"]) == (503, "1")


def test_workers_do_not_outlive_a_killed_supervisor() -> None:
    with program(workers=2) as server:
        until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        server.stop(signal.SIGKILL)
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))


def test_what_cannot_be_opened_ends_the_start_with_one_line() -> None:
    arguments = [sys.executable, str(HERE / "search_program.py"), json.dumps({"workers": 3, "fault": "no index here"})]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if not line.startswith("INFO")] == ["error: no index here"]
    assert ended.stdout == ""
