"""``tr-grpo serve-search``: serve an index, or servers that hold a part of one each."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated

import typer

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.source import IndexSource, ShardSource, Source

TOKEN_VARIABLE = "TR_GRPO_SEARCH_TOKEN"
SHORTEST_TOKEN = 16
DEFAULTS = Limits()


def serve_search(
    index: Annotated[Path | None, typer.Option(help="A folder of `tr-grpo index build`.")] = None,
    shard: Annotated[list[str] | None, typer.Option(help="In place of --index: a server of a part; repeat it.")] = None,
    kind: Annotated[str | None, typer.Option(help="bm25, dense or fused, where the index holds several.")] = None,
    device: Annotated[str, typer.Option(help="Of the encoder: cpu, cuda, cuda:1 ...")] = "cpu",
    encoder: Annotated[str | None, typer.Option(help="Where the index's encoder lies now, if it was moved.")] = None,
    nprobe: Annotated[
        int | None, typer.Option(min=1, help="IVF: cells a query visits; the index's own by default.")
    ] = None,
    ef_search: Annotated[int | None, typer.Option(min=1, help="HNSW: effort; the index's own by default.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each opens the index.")] = 1,
    public: Annotated[bool, typer.Option("--public", help="Allow a --host that other machines reach.")] = False,
    token_file: Annotated[Path | None, typer.Option(help=f"Bearer token; or set {TOKEN_VARIABLE}.")] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="With --public: let anybody search.")] = False,
    shard_token_file: Annotated[Path | None, typer.Option(help="Bearer token of the shards.")] = None,
    max_queries: Annotated[int, typer.Option(help="Queries of one request.")] = DEFAULTS.max_queries,
    max_query_chars: Annotated[int, typer.Option(help="Characters of one query.")] = DEFAULTS.max_query_chars,
    max_top_k: Annotated[int, typer.Option(help="Passages a query.")] = DEFAULTS.max_top_k,
    default_top_k: Annotated[int, typer.Option(help="Passages where no topk is given.")] = DEFAULTS.default_top_k,
    max_body_bytes: Annotated[int, typer.Option(help="Bytes of a request.")] = DEFAULTS.max_body_bytes,
    max_connections: Annotated[int, typer.Option(help="Open connections a worker.")] = DEFAULTS.max_connections,
    max_waiting: Annotated[int, typer.Option(help="Queries not answered yet, a worker.")] = DEFAULTS.max_waiting,
    max_batch: Annotated[int, typer.Option(help="Queries the retriever gets at once.")] = DEFAULTS.max_batch,
    deadline: Annotated[float, typer.Option(help="Seconds to answer in.")] = DEFAULTS.deadline,
    read_timeout: Annotated[float, typer.Option(help="Seconds for a request to arrive.")] = DEFAULTS.read_timeout,
    idle_timeout: Annotated[float, typer.Option(help="Seconds between requests.")] = DEFAULTS.idle_timeout,
    shutdown_timeout: Annotated[float, typer.Option(help="Seconds to end in.")] = DEFAULTS.shutdown_timeout,
    cache_mb: Annotated[int, typer.Option(help="Memory for repeated queries, a worker.")] = DEFAULTS.cache_mb,
) -> None:
    """Serve searches in Search-R1's wire format: POST /retrieve; also /health, /ready, /metrics and /docs."""
    limits = Limits(
        max_queries=max_queries,
        max_query_chars=max_query_chars,
        max_top_k=max_top_k,
        default_top_k=default_top_k,
        max_body_bytes=max_body_bytes,
        max_connections=max_connections,
        max_waiting=max_waiting,
        max_batch=max_batch,
        deadline=deadline,
        read_timeout=read_timeout,
        idle_timeout=idle_timeout,
        shutdown_timeout=shutdown_timeout,
        cache_mb=cache_mb,
    )
    token = read_token(token_file, os.environ.get(TOKEN_VARIABLE))
    check_exposure(host, public=public, token=token, no_token=no_token)
    source: Source
    if (index is None) == (not shard):
        raise InputError("give either --index FOLDER or --shard URL, once for each shard")
    if index is not None:
        source = IndexSource(index, kind, device, encoder, nprobe, ef_search)
    else:
        source = ShardSource(tuple(shard or ()), deadline, read_token(shard_token_file, None))

    from tr_grpo.search.server.supervisor import WorkerApp, listen, run_server

    with listen(host, port) as listening:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listening.getsockname()[1]}/retrieve"
        serving = f"serving {index or ', '.join(shard or [])} on {url}"
        started = run_server(WorkerApp(source, limits, token), listening, workers, lambda: print(serving, flush=True))
    if not started:
        raise typer.Exit(2)


def read_token(file: Path | None, variable: str | None) -> str | None:
    """The token of ``file``, else of the environment, else None; InputError if it cannot be read or is no secret."""
    if file is None and variable is None:
        return None
    where = str(file) if file is not None else TOKEN_VARIABLE
    try:
        token = (file.expanduser().read_text(encoding="ascii") if file is not None else variable or "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot read a token ({error}); write one with `openssl rand -hex 32`") from error
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"{where}: a token has {SHORTEST_TOKEN} or more visible ASCII characters; "
            "write one with `openssl rand -hex 32`"
        )
    return token


def check_exposure(host: str, *, public: bool, token: str | None, no_token: bool) -> None:
    """InputError where other machines could reach the server and nobody said that they should."""
    if is_loopback(host):
        return
    if not public:
        raise InputError(f"--host {host} can be reached from other machines; pass --public if that is meant")
    if token is None and not no_token:
        raise InputError(
            f"--public on {host} wants --token-file FILE or {TOKEN_VARIABLE}; pass --no-token to let anybody search"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``; of names, only ``localhost`` is known to be so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
