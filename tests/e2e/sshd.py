"""Real sshd's, one on each of two nodes made of one machine (``two_nodes.py``), with keys that are theirs alone."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from two_nodes import Node

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
CONFIG = """\
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
PrintMotd no
"""


def why_not() -> str | None:
    """The reason for which there is no sshd; None where there is one."""
    missing = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    missing += [] if SSHD else ["sshd"]
    return f"{', '.join(missing)} is not installed (Debian: openssh-server)" if missing else None


@contextlib.contextmanager
def sshd(nodes: Sequence[Node], folder: Path) -> Iterator[str]:
    """An sshd on each of ``nodes``; the end of a node is the end of its sshd.

    Args:
        nodes: that see ``folder``.
        folder: of keys and logs.

    Yields:
        ``ssh`` with the options by which one node reaches another.
    """
    for name in ("host_key", "user_key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True, capture_output=True, timeout=30)
    (folder / "config").write_text(CONFIG.format(folder=folder))
    Path("/run/sshd").mkdir(exist_ok=True)  # Debian's place for its unprivileged half
    options = f"-i {folder}/user_key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    assert SSHD is not None
    for node in nodes:
        node.start([SSHD, "-D", "-e", "-f", str(folder / "config")], folder / f"{node.name}.log")
    first = nodes[0]
    for node in nodes:
        deadline = time.monotonic() + 30
        while first.run(["ssh", *options.split(), node.name, "true"]).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no sshd on {node.name}: {(folder / f'{node.name}.log').read_text()}")
            time.sleep(0.3)
    yield f"ssh {options}"
