"""A supervisor's standard input, where a launcher on another machine holds it: variables first, then signals.

The end of the input is the end of the connection; nothing may go on running here that nobody can stop.
"""

import os
import signal
import sys
import threading
from typing import BinaryIO

from tr_grpo.data_prep.errors import InputError

PASSED_ON = {number.name: number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}


def take(source: BinaryIO | None = None) -> None:
    """Set the variables, then pass on signals in the background until the input ends, which counts as SIGTERM.

    Args:
        source: standard input if not given.

    Raises:
        InputError: the input ends before the variables do.
    """
    source = source or sys.stdin.buffer
    os.environ.update(read_variables(source))
    threading.Thread(target=_listen, args=(source,), daemon=True).start()


def read_variables(source: BinaryIO) -> dict[str, str]:
    """``NAME=value`` and a NUL each, until an empty one; nothing behind it is read.

    Raises:
        InputError: the input ends before.
    """
    found = {}
    while entry := _entry(source):
        name, _, value = entry.decode().partition("=")
        found[name] = value
    return found


def _entry(source: BinaryIO) -> bytes:
    read = bytearray()
    while (byte := source.read(1)) != b"\0":
        if not byte:
            raise InputError("--controlled: standard input ended before the variables did")
        read += byte
    return bytes(read)


def _listen(source: BinaryIO) -> None:
    while line := source.readline():
        number = PASSED_ON.get(line.decode(errors="replace").strip())
        if number is not None:
            os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
