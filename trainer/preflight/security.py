"""TR551 to TR556: secrets in the config, files that run code when they are loaded, and a Ray that lets everybody in.

docs/security.md says who is trusted and why these are the ones to look for.
"""

import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.finding import Finding, error, warning
from tr_grpo.trainer.preflight.ray_start import joined
from tr_grpo.trainer.redaction import secret_keys

PICKLED = ("*.bin", "*.pt", "*.pth")
RUN_CODE = "trust_remote_code"


def check(config: DictConfig) -> Iterator[Finding]:
    """Nothing here opens a file's content."""
    yield from _secrets(config)
    yield from _checkpoints(config)
    yield from _weights(Path(config.actor_rollout_ref.model.path))
    yield from _authentication(config)
    yield from _token_file(Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"))
    yield from _remote_code(config)


def _secrets(config: DictConfig) -> Iterator[Finding]:
    """verl prints the config and Ray's arguments, so a value there is in the log for good."""
    found = sorted(set(secret_keys(OmegaConf.to_container(config, resolve=True))))
    if found:
        yield error(
            "TR551", f"{', '.join(found)} holds what looks like a secret; verl would print it into the log",
            "take it out of the command and export it in the shell in which Ray starts: workers inherit it. Then "
            "replace the secret, for the shell's history has it",
        )  # fmt: skip


def _checkpoints(config: DictConfig) -> Iterator[Finding]:
    """verl unpickles a checkpoint's files without restriction (``torch.load`` with ``weights_only`` off)."""
    mode = config.trainer.resume_mode
    if mode == "disable":
        return
    root = Path(str(config.trainer.resume_from_path if mode == "resume_path" else config.trainer.default_local_dir))
    for path in (root, *root.glob("global_step_*"), *root.rglob("*.pt")):
        if fault := _writable_by_others(path):
            yield warning(
                "TR552", f"{path}, from which the run would resume, {fault}; a checkpoint can run any code when loaded",
                "resume only what you wrote: `chmod -R o-w` (or chown) the run folder if it is yours",
            )  # fmt: skip
            return


def _writable_by_others(path: Path) -> str:
    """What is wrong with it, or nothing; root is trusted with everything anyway."""
    if not path.exists():
        return ""
    facts = path.stat()
    if facts.st_uid not in (os.getuid(), 0):
        return f"belongs to another user ({facts.st_uid})"
    return "can be written by every user" if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX else ""


def _weights(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    if found := sorted(path.name for pattern in PICKLED for path in folder.glob(pattern)):
        yield warning(
            "TR553", f"{folder} has no safetensors, only pickled weights ({found[0]})",
            "take the model's safetensors; transformers and vLLM unpickle with weights_only=True, which restricts what "
            "such a file can do, but pickle is no format for files of others",
        )  # fmt: skip


def _authentication(config: DictConfig) -> Iterator[Finding]:
    """Ray turns tokens on by itself where it starts, not where an address is named."""
    address, mode = joined(config), os.environ.get("RAY_AUTH_MODE", "").lower()
    named = address not in (None, "auto")
    if mode == "token" or (mode == "" and (not named or loopback(host(str(address))))):
        return
    dashboard = config.ray_kwargs.ray_init.get("dashboard_host") or "127.0.0.1"
    finding = warning if loopback(dashboard) else error
    told = f"RAY_AUTH_MODE={mode}" if mode else f"RAY_AUTH_MODE is not set, and the run joins {address}"
    yield finding(
        "TR554", f"{told}: whoever reaches Ray's ports (its dashboard is on {dashboard}) can run code as you",
        "`ray get-auth-token --generate`, the same token on all nodes, and RAY_AUTH_MODE=token wherever Ray starts",
    )  # fmt: skip


def host(address: str) -> str:
    """The host of ``host:port`` or ``ray://host:port``."""
    return address.rpartition("://")[2].partition("/")[0].rpartition(":")[0].strip("[]")


def loopback(name: str) -> bool:
    """True iff ``name`` is this machine's own loopback."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False  # another machine's name


def _token_file(path: Path) -> Iterator[Finding]:
    """Ray writes it readable by all; only a closed folder above keeps other users out."""
    if not path.is_file() or not path.stat().st_mode & stat.S_IROTH:
        return
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents):
        yield warning(
            "TR555", f"{path}, the token with which one may run code on your Ray, can be read by every user here",
            f"chmod 600 {path}",
        )  # fmt: skip


def _remote_code(config: DictConfig) -> Iterator[Finding]:
    if keys := trusting(OmegaConf.to_container(config, resolve=True)):
        yield warning(
            "TR556", f"{', '.join(keys)} is on: Python files from the model's repository are run on every node",
            "read them, then name a folder or a fixed revision of that model, so that they cannot change",
        )  # fmt: skip


def trusting(node: object, key: str = "") -> list[str]:
    """The dotted keys below ``node`` that let a model's own code run, where they are on."""
    if isinstance(node, dict):
        return [found for name, value in node.items() for found in trusting(value, f"{key}.{name}" if key else name)]
    return [key] if node and key.rpartition(".")[2] == RUN_CODE else []
