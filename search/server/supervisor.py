"""Workers that share one listening socket, and the process that starts, watches and ends them.

It is uvicorn's supervisor: a worker that dies or hangs is replaced, and the socket stays open meanwhile. Added here:
an index that cannot be opened ends the start with one line, the end comes within a time limit, and workers do not
outlive a supervisor that was killed.
"""

from __future__ import annotations

import copy
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import Any

from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.protocol import ServerConfig, uvicorn_config
from tr_grpo.search.server.source import Source

THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
HEALTHCHECK = 30
"""Seconds in which a worker has to answer its supervisor; it cannot while a library holds Python's lock."""


@dataclass(frozen=True)
class WorkerApp:
    """Makes a worker's application; picklable. uvicorn calls it in the worker, before it accepts connections."""

    source: Source
    limits: Limits
    token: str | None

    def __call__(self) -> FastAPI:
        from tr_grpo.search.server.app import build_app

        _end_with_parent()
        try:
            return build_app(self.source.open(), self.limits, self.token)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(STARTUP_FAILURE)


class Supervisor(Multiprocess):
    """uvicorn's, for a :class:`WorkerApp`."""

    def __init__(self, config: ServerConfig, sockets: list[socket.socket], on_ready: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._on_ready = on_ready
        self._stop_within = config.limits.shutdown_timeout + 5.0
        self.started = False

    def init_processes(self) -> None:
        """Start one worker, and the others once it serves: what is wrong with the index is said once."""
        first = Process(self.config, self.sockets)
        first.start()
        self.processes.append(first)
        while not first.is_ready(timeout=1):
            self.handle_signals()
            if self.should_exit.wait(0.05):
                return
            if not first.process.is_alive():
                self.should_exit.set()
                return
        self.started = True
        for _ in range(self.processes_num - 1):
            process = Process(self.config, self.sockets)
            process.start()
            self.processes.append(process)
        self._on_ready()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died, and take their gauges out of /metrics."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            _forget_gauges(pid)

    def join_all(self) -> None:
        """Wait for the workers, and kill those that do not end in time."""
        deadline = time.monotonic() + self._stop_within
        for process in self.processes:
            process.process.join(max(0.0, deadline - time.monotonic()))
            if process.process.is_alive():
                process.process.kill()
                process.process.join()


def run_server(app: WorkerApp, listening: socket.socket, workers: int, on_ready: Callable[[], None]) -> bool:
    """Serve until SIGTERM or SIGINT; False if the first worker could not start (it has said why)."""
    share = str(max(1, len(os.sched_getaffinity(0)) // workers))
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, share)
    config = uvicorn_config(
        app,
        app.limits,
        factory=True,
        workers=workers,
        log_config=_logging(),
        timeout_worker_healthcheck=HEALTHCHECK,
    )
    with tempfile.TemporaryDirectory(prefix="tr-grpo-search-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        supervisor = Supervisor(config, [listening], on_ready)
        supervisor.run()
    return supervisor.started


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. InputError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error}); choose another") from error


def _end_with_parent() -> None:
    """End this process as SIGTERM does when its parent has died: else it would go on holding the port."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _forget_gauges(pid: int | None) -> None:
    """Remove the dead worker's gauges; prometheus_client's function for it, which reads the environment."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)


def _logging() -> dict[str, Any]:
    """uvicorn's logging, and this package's beside it."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["tr_grpo"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config
