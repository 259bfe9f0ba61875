"""A supervisor's standard input, where a launcher on another machine holds it: variables first, then signals.

The end of the input is the end of the connection; nothing may go on running here that nobody can stop.
"""

import os
import signal
import threading
from typing import Protocol

from tr_grpo.data_prep.errors import InputError

PASSED_ON = {number.name: number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}


class Input(Protocol):
    """What is read of a binary file."""

    def read(self, size: int, /) -> bytes | None:
        """Up to ``size`` bytes; none at the end."""

    def readline(self) -> bytes:
        """One line; none at the end."""


def take(source: Input | None = None) -> None:
    """Set the variables, then pass on signals in the background until the input ends, which counts as SIGTERM.

    Args:
        source: standard input if not given.

    Raises:
        InputError: the input ends before the variables do.
    """
    # Unbuffered: Python aborts at its end when a thread still holds the lock of a buffered input.
    source = source or open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    os.environ.update(read_variables(source))
    threading.Thread(target=_listen, args=(source,), daemon=True).start()


def read_variables(source: Input) -> dict[str, str]:
    """``NAME=value`` and a NUL each, until an empty one; nothing behind it is read.

    Raises:
        InputError: the input ends before.
    """
    found = {}
    while entry := _entry(source):
        name, _, value = entry.decode().partition("=")
        found[name] = value
    return found


def _entry(source: Input) -> bytes:
    read = bytearray()
    while (byte := source.read(1)) != b"\0":
        if not byte:
            raise InputError("--controlled: standard input ended before the variables did")
        read += byte
    return bytes(read)


def _listen(source: Input) -> None:
    while line := source.readline():
        number = PASSED_ON.get(line.decode(errors="replace").strip())
        if number is not None:
            os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
