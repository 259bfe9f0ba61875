"""TR521, TR522: the trackers of ``trainer.logger`` exist, and have credentials, which are never shown."""

import importlib.util
import netrc
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight.finding import Finding, error

MODULES = {
    "wandb": "wandb",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "vemlp_wandb": "volcengine_ml_platform",
    "tensorboard": "torch.utils.tensorboard",
    "clearml": "clearml",
    "trackio": "trackio",
}
WITHOUT_MODULE = ("console", "file", "rl_insight")
WANDB = "https://api.wandb.ai"


def check(config: DictConfig) -> Iterator[Finding]:
    """verl opens the trackers after Ray, the workers and vLLM have started."""
    loggers = config.trainer.logger
    environment = dict(os.environ)
    environment.update(OmegaConf.select(config, "ray_kwargs.ray_init.runtime_env.env_vars") or {})
    for name in [loggers] if isinstance(loggers, str) else loggers:
        if name not in (*MODULES, *WITHOUT_MODULE):
            yield error(
                "TR521", f"trainer.logger has {name!r}, which verl does not know",
                f"choose of {', '.join((*MODULES, *WITHOUT_MODULE))}",
            )  # fmt: skip
        elif name in MODULES and importlib.util.find_spec(MODULES[name].partition(".")[0]) is None:
            yield error(
                "TR521", f"trainer.logger has {name}, but {MODULES[name]} is not installed",
                f"install it, or take {name} out of trainer.logger",
            )  # fmt: skip
        elif name == "wandb" and not wandb_ready(environment):
            yield error(
                "TR522", "trainer.logger has wandb, but there is no key for it: neither WANDB_API_KEY nor an entry in "
                "~/.netrc",
                "run `wandb login`, set WANDB_API_KEY, or WANDB_MODE=offline",
            )  # fmt: skip
        elif name == "swanlab" and environment.get("SWANLAB_MODE", "cloud") == "cloud" and not _swanlab(environment):
            yield error(
                "TR522", "trainer.logger has swanlab, but SWANLAB_API_KEY is not set",
                "set it, or SWANLAB_MODE=local",
            )  # fmt: skip


def wandb_ready(environment: dict[str, str]) -> bool:
    """True iff wandb will not stop to ask: a key in the environment or in netrc, or a mode that needs none."""
    if environment.get("WANDB_MODE") in ("offline", "disabled", "dryrun") or environment.get("WANDB_API_KEY"):
        return True
    host = urlsplit(environment.get("WANDB_BASE_URL", WANDB)).hostname or ""
    home = Path(environment.get("HOME", "~")).expanduser()
    given = environment.get("NETRC")
    for path in [Path(given)] if given else [home / ".netrc", home / "_netrc"]:
        try:
            if path.is_file() and netrc.netrc(str(path)).authenticators(host) is not None:
                return True
        except netrc.NetrcParseError:
            continue  # wandb cannot read it either
    return False


def _swanlab(environment: dict[str, str]) -> bool:
    home = Path(environment.get("HOME", "~")).expanduser()
    return bool(environment.get("SWANLAB_API_KEY")) or (home / ".swanlab" / ".netrc").is_file()
