"""A real Chromium, and pages of synthetic runs.

Without a browser the tests are skipped with the reason, or fail where ``TR_GRPO_REQUIRE_BROWSER=1`` demands one.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "analysis"))  # synthetic.py

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXECUTABLES = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")


def executable() -> str | None:
    """Chromium's path, from ``CHROMIUM`` or the usual names."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in EXECUTABLES if (path := shutil.which(name))), None)


def missing(reason: str) -> None:
    """Skip, or fail where a browser is demanded."""
    if os.environ.get("TR_GRPO_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (requirements/test.txt)")
    path = executable()
    if path is None:
        missing(f"no Chromium: install one of {', '.join(EXECUTABLES)}, or set CHROMIUM to its path")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@dataclass
class Opened:
    """A page and what happened on it."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    """Console messages, errors, violations of the policy and dialogs."""
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def show(browser: "Browser") -> Iterator[Any]:
    """Opens a file with the settings of a new page; at the end nothing may have complained or been fetched."""
    every: list[Opened] = []
    contexts = []

    def open_page(path: Path, **settings: Any) -> Opened:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | settings
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        opened = Opened(context.new_page())
        every.append(opened)
        page = opened.page
        page.on("console", lambda message: opened.complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: opened.complaints.append(f"error: {error}"))
        page.on("request", lambda request: opened.requests.append(request.url))

        def dialog(shown: Any) -> None:
            opened.complaints.append(f"dialog: {shown.message}")
            shown.dismiss()

        page.on("dialog", dialog)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=true]", timeout=20_000)
        return opened

    yield open_page
    for opened in every:
        assert opened.complaints == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    for context in contexts:
        context.close()
