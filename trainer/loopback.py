"""A run on one machine is reached from that machine alone.

By default Ray listens on all interfaces, and what verl starts beside it on the machine's own address: vLLM's HTTP
servers, which ask for no key, and TransferQueue's sockets, which unpickle what they are sent (docs/security.md). All
of them ask Ray for the address. Only torch's stores, which have no option for it, still listen on all interfaces.
"""

import os
import tempfile
from pathlib import Path

from omegaconf import DictConfig

VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""At 0, Ray takes 127.0.0.1 for its node's address and listens there: its default on the systems in the name."""
LAST_CLUSTER = "ray/ray_current_cluster"
"""Written by `ray start` below the temporary folder; a run without an address joins that Ray."""


def starts_own_ray(config: DictConfig) -> bool:
    """True iff nothing names a Ray that runs: not the config, not RAY_ADDRESS, not a `ray start` on this machine."""
    address = config.ray_kwargs.ray_init.get("address") or os.environ.get("RAY_ADDRESS")
    if address:
        return address == "local"
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    return not Path(folder, LAST_CLUSTER).exists()


def keep_on_loopback(config: DictConfig) -> bool:
    """Make this run listen on 127.0.0.1 alone where it has one machine and a Ray of its own; True iff it will.

    Has to be called before Ray is imported. ``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=1`` in the environment asks for the
    machine's own address instead.
    """
    if config.trainer.nnodes == 1 and starts_own_ray(config):
        os.environ.setdefault(VARIABLE, "0")
        return os.environ[VARIABLE] == "0"
    return False
