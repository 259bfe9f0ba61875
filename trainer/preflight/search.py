"""TR7xx: the search tool: settings, agent loop, room for the observations, and a server that answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from tr_grpo.search.client import SearchClient, SearchError, SearchRefused
from tr_grpo.search.settings import SearchSettings
from tr_grpo.trainer.compose import package_path
from tr_grpo.trainer.preflight.data import files
from tr_grpo.trainer.preflight.finding import Finding, error, warning

LOOPS = ("search_r1", "search_tool")
"""The agent loops that search (search/agent_loops.yaml)."""
VERLS_LOOPS = ("single_turn_agent", "tool_agent")
PROBE_SECONDS = 5.0


def check(config: DictConfig) -> Iterator[Finding]:
    """Nothing to do for a task without search."""
    used: set[str] = set()
    for key in ("train_files", "val_files"):
        for path in files(config, key):
            names = _agent_names(path, config)
            yield from _unknown(path, names, config)
            used |= names
    if not used & set(LOOPS):
        yield from _unused(config)
        return
    try:
        settings = SearchSettings.read(_section(config))
        settings.headers()
    except (ValueError, OSError) as problem:
        yield error("TR701", str(problem), "set it, e.g. search.url=http://127.0.0.1:8000")
        return
    if not config.trainer.use_v1:
        yield warning(
            "TR706", "search.max_failure_share acts in the replay buffer, which only the V1 trainer has: failed "
            "searches are counted and shown to the policy, but neither masked nor do they stop the run",
            "set trainer.use_v1=true",
        )  # fmt: skip
    yield from _room(config, settings)
    for url in settings.urls:
        yield from _server(url, settings)


def _section(config: DictConfig) -> dict[str, object]:
    section = OmegaConf.to_container(config.search, resolve=True)
    assert isinstance(section, dict)
    return {str(key): value for key, value in section.items()}


def _agent_names(path: Path, config: DictConfig) -> set[str]:
    import pyarrow.parquet as pq

    default = config.actor_rollout_ref.rollout.agent.default_agent_loop
    if "agent_name" not in pq.read_schema(path).names:
        return {default}
    return set(pq.read_table(path, columns=["agent_name"])["agent_name"].unique().to_pylist())


def _unknown(path: Path, names: set[str], config: DictConfig) -> Iterator[Finding]:
    known = [*_registered(config.actor_rollout_ref.rollout.agent.agent_loop_config_path), *VERLS_LOOPS]
    for name in sorted(names - set(known)):
        yield error(
            "TR702", f"{path}: agent_name {name!r} is no agent loop; known are {', '.join(known)}",
            "prepare the file again, or set actor_rollout_ref.rollout.agent.default_agent_loop",
        )  # fmt: skip


def _registered(registry: str | None) -> list[str]:
    if not registry:
        return []
    return [entry["name"] for entry in yaml.safe_load(Path(package_path(registry)).read_text("utf-8"))]


def _unused(config: DictConfig) -> Iterator[Finding]:
    if config.reward.reward_kwargs.get("scorer") == "tr_grpo.reward.search_qa":
        yield error(
            "TR703", "the task is question answering with search, but no row uses an agent loop that searches",
            "prepare the data with `tr-grpo prep search-qa`, or set "
            "actor_rollout_ref.rollout.agent.default_agent_loop=search_r1",
        )  # fmt: skip


def _room(config: DictConfig, settings: SearchSettings) -> Iterator[Finding]:
    observed = settings.max_turns * settings.max_observation_tokens
    limit = config.data.max_response_length
    if observed >= limit:
        yield warning(
            "TR704", f"search.max_turns x max_observation_tokens = {observed} tokens of passages alone can fill "
            f"data.max_response_length={limit}: such responses end truncated",
            "raise data.max_response_length, or lower search.max_observation_tokens, top_k or max_turns",
        )  # fmt: skip


def _server(url: str, settings: SearchSettings) -> Iterator[Finding]:
    base = url.removesuffix("/retrieve")
    try:
        asyncio.run(_ask(url, settings))
    except (SearchError, SearchRefused) as problem:
        port = base.rpartition(":")[2] if base.count(":") > 1 else "80"
        yield error(
            "TR705", f"no search server answers at {url}: {problem}",
            f"start it in another terminal: tr-grpo serve-search --index INDEX_FOLDER --port {port}",
        )  # fmt: skip


async def _ask(url: str, settings: SearchSettings) -> None:
    """One search, with seconds of patience instead of minutes."""
    client = SearchClient(
        SearchSettings(
            url, settings.top_k, timeout_s=PROBE_SECONDS, deadline_s=PROBE_SECONDS, token_file=settings.token_file
        )
    )
    try:
        await client.search("preflight")
    finally:
        await client.close()
