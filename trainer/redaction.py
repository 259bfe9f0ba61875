"""What looks like a secret, and its replacement in what is written down.

Two signs: the name of a key (``…_token``, ``…api_key``, ``password``), and the form of a value (a hub's access token,
a private key, a URL with a password). A third is certain: the value of an environment variable with such a name.
The preflight refuses a config with the first two (TR551); what a run folder holds is redacted by all three.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

REDACTED = "[redacted]"

_NAMES = re.compile(
    r"(?:^|[_.\-])(?:(?:api|access|secret|private|auth|signing|encryption|account|license)[_\-]?keys?"
    r"|pass(?:word|wd|phrase)|secrets?|credentials?|token|bearer|authorization)$",
    re.IGNORECASE,
)
_TOKENS_OF_TEXT = re.compile(
    r"(?:^|[_.\-])(?:bos|eos|pad|unk|mask|sep|cls|stop|start|end|image|video|audio|tool|think)[_\-]?token$",
    re.IGNORECASE,
)
"""Special tokens of a tokenizer."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_SECRET = re.compile(
    r"""
    | true | false | null | none | empty | dummy
    | [-+.\d]+(?:e[-+]?\d+)?              # a number
    | <.*> | \[.*\]                       # a special token, or redacted already
    | (?:~|\.{0,2})/.* | .*\.(?:txt|json|ya?ml|token|key|pem|env|netrc)  # where it is kept
    | \$\{?\w+\}?                         # a variable's name
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FORMS = re.compile(
    r"""
    (?<![A-Za-z0-9_])(?:
        hf_[A-Za-z0-9]{20,}                       # Hugging Face
      | sk-[A-Za-z0-9_\-]{20,}                    # OpenAI, Anthropic
      | gh[pousr]_[A-Za-z0-9]{30,} | github_pat_[A-Za-z0-9_]{30,} | glpat-[A-Za-z0-9_\-]{20,}
      | wandb_v\d_[A-Za-z0-9_]{20,}
      | (?:AKIA|ASIA)[A-Z0-9]{16}                 # AWS
      | AIza[A-Za-z0-9_\-]{35}                    # Google
      | xox[abprs]-[A-Za-z0-9\-]{10,}             # Slack
      | eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+   # a JSON web token
    )(?![A-Za-z0-9])
    | -----BEGIN[ ](?:[A-Z]+[ ])*PRIVATE[ ]KEY-----[^\x00]*
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)             # a password in a URL
    | (?<=[?&]token=)[^&\s]+ | (?<=[?&]api_key=)[^&\s]+ | (?<=[?&]access_token=)[^&\s]+ | (?<=[?&]sig=)[^&\s]+
    | (?<=[Bb]earer[ ])[A-Za-z0-9_\-.~+/=]{12,}
    """,
    re.VERBOSE,
)
_WANDB = re.compile(r"[0-9a-f]{40}")
"""A key of wandb has no mark; a commit looks the same."""
_COMMITS = re.compile(r"(?:revision|commit|sha|sha1|hash|digest|ref|version|model|path)$", re.IGNORECASE)
_SHORTEST = 8
"""Characters of an environment variable's value below which it is too common a word to be replaced."""


def secret_name(key: str) -> bool:
    """True iff the last word of ``key`` is the name of a secret: ``HF_TOKEN``, but not ``max_token_len``."""
    words = _CAMEL.sub("_", key)
    return bool(_NAMES.search(words)) and not _TOKENS_OF_TEXT.search(words)


def is_secret(key: str, value: object) -> bool:
    """True iff ``value`` under ``key`` looks like a secret or holds one. A path to one does not."""
    return isinstance(value, str) and (_all_secret(key, value) or bool(_FORMS.search(value)))


def _all_secret(key: str, value: str) -> bool:
    if _WANDB.fullmatch(value):
        return not _COMMITS.search(key)
    return secret_name(key) and not _NO_SECRET.fullmatch(value.strip("\"' "))


def secret_keys(node: Any, key: str = "") -> Iterator[str]:
    """The dotted keys below ``node`` (dicts, lists and plain values) whose values look like secrets."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from secret_keys(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from secret_keys(value, key)
    elif is_secret(key, node):
        yield key


def of_environment(variables: Mapping[str, str] | None = None) -> list[str]:
    """The secrets that the environment (by default, this process's) holds, longest first."""
    environment = os.environ if variables is None else variables
    found = {value for name, value in environment.items() if secret_name(name) and is_secret(name, value)}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)


def redact(text: str) -> str:
    """``text`` without what has the form of a secret or is one of this process's environment."""
    for secret in of_environment():
        text = text.replace(secret, REDACTED)
    return _FORMS.sub(REDACTED, text)


def redact_override(override: str) -> str:
    """A command line's ``key=value`` without a secret; its key is kept."""
    key, equals, value = override.partition("=")
    return f"{key}={REDACTED}" if equals and _all_secret(key, value) else redact(override)


def redacted(node: Any, key: str = "") -> Any:
    """A copy of ``node`` (dicts, lists and plain values) without secrets; all keys are kept."""
    if isinstance(node, Mapping):
        return {name: redacted(value, f"{key}.{name}" if key else str(name)) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [redacted(value, key) for value in node]
    if not isinstance(node, str):
        return node
    return REDACTED if _all_secret(key, node) else redact(node)
