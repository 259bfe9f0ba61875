"""Words and variables on their way through ssh and through a Ray job; what a supervisor reads on its input."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launch_cases import ANY_WORD, ANY_WORDS, HARD_WORDS, STAND_IN, executable, job, said, words_after_dashes

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch import control, ray_job, ssh

NODES = ssh.Options(("node1", "me@node2"))
# sshd hands the last word to the login shell; this does the same, here.
FAKE_SSH = '#!/bin/bash\nexec bash -c "${@: -1}"\n'
LISTENER = """#!/usr/bin/env python3
import json, os, signal, sys
variables = sys.stdin.buffer.read1(100000)
print("started", flush=True)
line = sys.stdin.readline()
with open(os.environ["SAID_AT"] + sys.argv[sys.argv.index("launch") + 3], "w") as file:
    json.dump({"words": sys.argv[1:], "variables": variables.decode(), "line": line}, file)
sys.exit(7)
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_ssh_hands_the_words_on_byte_for_byte(tmp_path: Path, rank: int) -> None:
    program = executable(tmp_path / "tr-grpo", STAND_IN)
    here = job(program=str(program), folder=tmp_path)
    heard = said(["bash", "-c", ssh.command(here, NODES, rank)[-1]], tmp_path)
    assert words_after_dashes(heard.words) == HARD_WORDS
    assert heard.words[2:5] == ("--hosts=node1,node2", f"--rank={rank}", "--port=6379")
    assert heard.folder == tmp_path


@settings(max_examples=15)
@given(words=ANY_WORDS)
def test_any_words_survive_ssh_and_ray(tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...]) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    here = job(words, program=str(executable(tmp_path / "tr-grpo", STAND_IN)), folder=tmp_path)
    by_ssh = said(["bash", "-c", ssh.command(here, NODES, 0)[-1]], tmp_path)
    assert words_after_dashes(by_ssh.words) == words
    # Ray's supervisor hands the entry point to a shell as one text.
    by_ray = said(["sh", "-c", shlex.join(ray_job.entrypoint(here))], tmp_path)
    assert words_after_dashes(by_ray.words) == words
    assert by_ray.folder == tmp_path


def test_ssh_s_command_line_shows_names_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary_canary_canary")
    rendered = ssh.render(job(variables=("HF_TOKEN",)), NODES)
    assert rendered.files == {}
    assert len(rendered.commands) == 2
    assert "canary" not in str(rendered.commands)
    assert [command[-2] for command in rendered.commands] == ["node1", "me@node2"]


def test_a_launch_by_ssh_passes_variables_and_signals_and_returns_the_head_s_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    program = executable(tmp_path / "tr-grpo", LISTENER)
    fake = executable(tmp_path / "ssh", FAKE_SSH)
    monkeypatch.setenv("SAID_AT", str(tmp_path / "said"))
    monkeypatch.setenv("MY_TOKEN", "a value = with\nlines")
    here = job(program=str(program), folder=tmp_path, variables=("MY_TOKEN",), nodes=1)
    # The timer stands for a user's Ctrl-C, two seconds later.
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    try:
        status = ssh.run(here, ssh.Options(("node1",), ssh=(str(fake),)), tmp_path / "logs")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)
    assert status == 7
    heard = json.loads((tmp_path / "said--rank=0").read_text())
    assert heard["line"] == "SIGINT\n"
    variables = control.read_variables(io.BytesIO(heard["variables"].encode()))
    assert variables["MY_TOKEN"] == "a value = with\nlines"
    assert variables["RAY_AUTH_MODE"] == "token"
    assert len(variables["RAY_AUTH_TOKEN"]) == 64
    assert b"node1: started\n" in capfdbinary.readouterr().out
    assert (tmp_path / "logs" / "node1.ssh.log").read_text() == "started\n"


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), ANY_WORD), st.binary(max_size=8))
def test_variables_arrive_as_they_were_and_nothing_behind_them_is_read(variables: dict[str, str], rest: bytes) -> None:
    source = io.BytesIO(ssh.variables_block(variables) + rest)
    assert control.read_variables(source) == variables
    assert source.read() == rest


def test_an_input_that_ends_early_is_refused() -> None:
    whole = ssh.variables_block({"A": "b"})
    for cut in range(len(whole)):
        with pytest.raises(InputError, match="ended before"):
            control.read_variables(io.BytesIO(whole[:cut]))


def test_lines_become_signals_and_the_end_of_the_input_is_sigterm() -> None:
    seen: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    previous = {number: signal.signal(number, lambda number, frame: seen.append(number)) for number in numbers}
    read, write = os.pipe()
    try:
        os.write(write, b"\0")
        control.take(os.fdopen(read, "rb"))
        for line, expected in ((b"SIGUSR1\n", signal.SIGUSR1), (b"nonsense\nSIGINT\n", signal.SIGINT)):
            os.write(write, line)
            until(lambda expected=expected: seen[-1:] == [expected])
        os.close(write)
        until(lambda: seen == [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("status", [0, 75])
def test_a_node_that_ends_before_its_input_does_has_its_own_status(status: int) -> None:
    script = f"from tr_grpo.trainer.launch import control; control.take(); raise SystemExit({status})"
    node = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert node.stdin is not None
    node.stdin.write("\0")
    node.stdin.flush()
    assert node.wait(30) == status
    node.stdin.close()
    assert node.stderr is not None
    assert node.stderr.read() == ""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("given_hosts", "expected"),
    [("a,b", ("a", "b")), (" a , me@b.example ,", ("a", "me@b.example")), ("10.0.0.1", ("10.0.0.1",))],
)
def test_hosts_are_read_from_the_command_line(given_hosts: str, expected: tuple[str, ...]) -> None:
    assert ssh.hosts(given_hosts, None) == expected


def test_hosts_are_read_from_a_hostfile_of_mpi_s_kind(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# ours\nnode1 slots=8\n\n  node2   # slow\n")
    assert ssh.hosts(None, file) == ("node1", "node2")


@pytest.mark.parametrize(
    ("given_hosts", "says"),
    [
        *(("a,a", "twice"), (",", "no host"), ("-oProxyCommand=x", "no name"), ("a b", "no name")),
        (None, "name the hosts"),
    ],
)
def test_hosts_that_are_none_are_refused(given_hosts: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ssh.hosts(given_hosts, None)
