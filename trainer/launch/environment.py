"""Which environment variables go along to the nodes, by name; their values are never written anywhere."""

import re
from collections.abc import Mapping, Sequence

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import redaction

FORWARDED = re.compile(
    r"HF_\w+|HUGGING_FACE_HUB_TOKEN|TRANSFORMERS_OFFLINE|WANDB_\w+|MLFLOW_\w+|SWANLAB_\w+|NCCL_\w+|GLOO_\w+|TP_SOCKET_\w+"
    r"|UCX_\w+|FI_\w+|RDMAV_\w+|TORCH_\w+|VLLM_\w+|VERL_\w+|RAY_\w+|OMP_NUM_THREADS|PYTHONPATH|(?:https?|no|all)_proxy"
    r"|(?:HTTPS?|NO|ALL)_PROXY"
)
"""Names that go along without being asked for: hubs, trackers, networks, proxies. Others are named with ``--env``."""
NOT_FORWARDED = ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "HF_HUB_DISABLE_IMPLICIT_TOKEN_FILE")


def names(environ: Mapping[str, str], asked: Sequence[str]) -> tuple[str, ...]:
    """The names that go along, in order.

    Raises:
        InputError: a name was asked for that is not set here, or is none.
    """
    for name in asked:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise InputError(f"--env {name}: give a variable's name; its value is taken from the environment")
        if name not in environ:
            raise InputError(f"--env {name}: this variable is not set here; export it first")
    usual = {name for name in environ if FORWARDED.fullmatch(name) and name not in NOT_FORWARDED}
    return tuple(sorted(usual | set(asked)))


def refuse_secrets(texts: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """A last look before anything is written or sent.

    Args:
        texts: what would be written, by name.
        environ: the environment, whose secrets are known by their names.

    Raises:
        InputError: one of the texts holds the value of a secret, or what has the form of one.
    """
    for title, text in texts.items():
        for value in redaction.of_environment(environ):
            if value in text:
                name = next(name for name in environ if environ[name] == value)
                raise InputError(
                    f"{title} would hold the value of {name}; pass the variable with --env {name}, "
                    f"and write ${{oc.env:{name}}} where a config needs it"
                )
        if redaction.redact(text) != text:
            raise InputError(f"{title} would hold a secret; put it into a variable and pass that with --env NAME")
