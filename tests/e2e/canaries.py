"""Secrets in the environment of a run, and where they must not turn up; who can reach what a run listens on."""

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from conftest import Run

SECRETS = {
    "WANDB_API_KEY": "0123canary4567canary89abcanarycdefcanary",
    "HF_TOKEN": "hf_canaryOfTheEnvironment0123456789",
    "MY_PASSWORD": "a canary in a form that nobody knows",
}
RAY = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
STORES = ("ray::WorkerDict", "VLLM::Worker")
"""Rank 0 of a process group opens torch's TCPStore, which listens on all interfaces and has no option for it."""


def holders(run: Run, *more: Path) -> list[Path]:
    """The files of the run, its log, Ray's logs of it and ``more`` that hold a secret of ``SECRETS``."""
    assert run.process is not None
    log = run.folder.parent / f"{run.folder.name}.log"
    sessions = list(RAY.glob(f"session_*_{run.process.pid}"))
    assert sessions, "Ray names its session after the process"
    places = [log, run.folder, *sessions, *more]
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    assert log in files
    return [
        path
        for path in files
        if path.is_file() and any(text.encode() in path.read_bytes() for text in SECRETS.values())
    ]


def reachable_from_outside(processes: Iterable[psutil.Process]) -> list[str]:
    """The addresses beyond the loopback on which the processes listen, but for one store each (``STORES``)."""
    found = []
    for process in processes:
        try:
            outside = sorted({where for where in map(_outside, process.net_connections("inet")) if where})
            stores = process.name().startswith(STORES)
        except psutil.NoSuchProcess:
            continue  # ended meanwhile
        found += [f"{process.pid} {where}" for where in outside[1 if stores else 0 :]]
    return found


def _outside(connection: Any) -> str:
    if connection.status != psutil.CONN_LISTEN:
        return ""
    address = ipaddress.ip_address(connection.laddr.ip)
    address = getattr(address, "ipv4_mapped", None) or address
    return "" if address.is_loopback else f"{address} port {connection.laddr.port}"
