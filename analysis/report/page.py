"""The HTML page: a template with its style, its script and its data, under a policy that lets nothing else run."""

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from importlib import resources

from tr_grpo.analysis.report.data import Json, dumps

SCRIPTS = ("base.js", "charts.js", "tokens.js", "page.js")
"""Joined in this order into the page's one script."""
POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def render(data: Json, runs: Sequence[str]) -> bytes:
    """The page of ``data`` in UTF-8; the same data give the same bytes."""
    style = _asset("page.css")
    script = "\n".join(_asset(name) for name in SCRIPTS)
    policy = POLICY.format(style=digest(style), script=digest(script))
    slots = {
        "title": html.escape(" · ".join(runs)[:120]),
        "policy": html.escape(policy, quote=True),
        "style": style,
        "script": script,
        "data": dumps(data),
    }
    return fill(_asset("page.html"), slots).encode("utf-8", errors="replace")


def digest(text: str) -> str:
    """What a content security policy names an inline style or script by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def fill(template: str, slots: Mapping[str, str]) -> str:
    """``template`` with each ``{{name}}`` replaced, once: what is put in is not searched again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: slots[match[1]], template)


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
