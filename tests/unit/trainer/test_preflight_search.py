"""Preflight of the search tool, beside a real search server."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from findings import Run, codes

from tr_grpo.data_prep.facts import FactsConfig, build_facts
from tr_grpo.search.build import BuildConfig, build_index
from tr_grpo.search.reading import CorpusConfig
from tr_grpo.trainer.preflight import reward, search


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    build_facts(FactsConfig(folder, people=120, train=40, test=10))
    return folder


@pytest.fixture(scope="module")
def url(facts: Path) -> Iterator[str]:
    index = facts / "index"
    build_index(BuildConfig(CorpusConfig((facts / "corpus.jsonl",)), index))
    command = [sys.executable, "-m", "tr_grpo.trainer.cli", "serve-search", "--index", str(index), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            line = server.stdout.readline()
            yield line.rpartition(" on ")[2].strip()
        finally:
            server.terminate()


def overrides(facts: Path, url: str) -> list[str]:
    files = [f"data.train_files={facts}/train.parquet", f"data.val_files={facts}/test.parquet"]
    return ["task=facts", "llm=tiny_facts", f"search.url={url}", *files]


def test_a_server_that_answers_is_no_finding(run: Run, facts: Path, url: str) -> None:
    assert codes(list(search.check(run(*overrides(facts, url))))) == []


def test_a_server_that_is_not_there_is_named_with_the_command_that_starts_it(run: Run, facts: Path) -> None:
    port = free_port()
    (finding,) = search.check(run(*overrides(facts, f"http://127.0.0.1:{port}")))
    assert finding.code == "TR705"
    assert f"127.0.0.1:{port}" in finding.message
    assert finding.fix.endswith(f"tr-grpo serve-search --index INDEX_FOLDER --port {port}")


def test_of_several_servers_the_missing_one_is_named(run: Run, facts: Path, url: str) -> None:
    port = free_port()
    (finding,) = search.check(run(*overrides(facts, f"[{url}, http://127.0.0.1:{port}]")))
    assert finding.code == "TR705"
    assert str(port) in finding.message


@pytest.mark.parametrize(
    ("spoiled", "code", "words"),
    [
        (["search.url=null"], "TR701", "search.url is not set"),
        (["search.top_k=0"], "TR701", "search.top_k=0"),
        (["search.token_file=/gone"], "TR701", "/gone"),
        (["search.max_observation_tokens=200"], "TR704", "400 tokens of passages"),
        (["trainer.use_v1=false"], "TR706", "neither masked nor"),
    ],
)
def test_settings_that_cannot_be(run: Run, facts: Path, url: str, spoiled: list[str], code: str, words: str) -> None:
    (finding,) = search.check(run(*overrides(facts, url), *spoiled))
    assert finding.code == code
    assert words in finding.message


def test_an_unknown_agent_loop_is_named(run: Run, facts: Path) -> None:
    nothing = "actor_rollout_ref.rollout.agent.agent_loop_config_path=null"
    found = list(search.check(run(*overrides(facts, "null"), nothing)))
    assert codes(found) == ["TR702", "TR702", "TR701"]  # both files, and the address
    assert "'search_r1'" in found[0].message


def test_question_answering_without_a_loop_that_searches_is_refused(run: Run) -> None:
    """Knights & Knaves data with the scorer of search: no row names an agent loop, and the default is verl's."""
    spoiled = ["reward.reward_kwargs.scorer=tr_grpo.reward.search_qa"]
    assert codes(list(search.check(run(*spoiled)))) == ["TR703"]


def test_a_task_without_search_asks_nothing(run: Run) -> None:
    assert codes(list(search.check(run("task=knights_knaves")))) == []


def test_a_pool_which_gets_no_trajectories_is_refused_before_the_run(run: Run, facts: Path, url: str) -> None:
    spoiled = [*overrides(facts, url), "+reward.reward_kwargs.pool={workers: 1}"]
    assert "TR308" in codes(list(reward.check(run(*spoiled))))
    assert codes(list(reward.check(run(*overrides(facts, url))))) == []
