"""What one machine knows of itself: its GPUs, its address, and whom its Ray lets in."""

import os
import secrets
import subprocess
from pathlib import Path

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import loopback


def keep_on_loopback() -> None:
    """Have the Ray of a single node listen on 127.0.0.1 alone; before Ray is imported."""
    os.environ.setdefault(loopback.VARIABLE, "0")


def use_token(nodes: int) -> None:
    """Ray lets in who has the token; without one, everybody who reaches a port runs code here.

    Raises:
        InputError: several nodes, and no token that they could share.
    """
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        return
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or (Path.home() / ".ray" / "auth_token").is_file():
        return
    if nodes > 1:
        raise InputError(
            "RAY_AUTH_TOKEN is not set: give every node the same random one (tr-grpo launch does), or set "
            "RAY_AUTH_MODE=disabled on a network that is yours alone"
        )
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def own_address() -> str:
    """The address that Ray finds for this machine."""
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())


def count_gpus() -> int:
    """The GPUs that this node shows.

    Raises:
        InputError: none.
    """
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError as problem:
        raise InputError("no nvidia-smi on this node; for a CPU say --devices=<slots>") from problem
    if listed.returncode != 0 or not listed.stdout.strip():
        raise InputError(f"nvidia-smi shows no GPU on this node: {' '.join((listed.stdout + listed.stderr).split())}")
    return len(listed.stdout.splitlines())
