"""What a node's children print, here and in the node's log at once."""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

JOIN_S = 5.0
CHUNK = 65536
STDOUT = 1


class Tee:
    """Starts children in sessions of their own and copies their output, line-buffered by themselves."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        # Who reads our output may hang up; the log goes on, and with it the children, which a full pipe would stop.
        self._listened = True
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Tee":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # A descendant that lives on may hold the pipe open; what it prints then is nobody's.
        for thread in self._threads:
            thread.join(JOIN_S)
        with self._lock:
            self._file.close()

    def start(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start ``command``; a Ctrl-C in the terminal does not reach it, only what is sent to it."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(os.environ if environ is None else environ) | {"PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        thread = threading.Thread(target=self._copy, args=(process.stdout,), daemon=True)
        thread.start()
        self._threads.append(thread)
        return process

    def say(self, line: str) -> None:
        """A line of our own."""
        self._write(f"launch: {line}\n".encode())

    def _copy(self, source: IO[bytes]) -> None:
        while chunk := os.read(source.fileno(), CHUNK):
            self._write(chunk)

    def _write(self, data: bytes) -> None:
        with self._lock:
            if self._file.closed:
                return
            self._file.write(data)
            try:
                while self._listened and data:
                    data = data[os.write(STDOUT, data) :]
            except OSError:
                self._listened = False
