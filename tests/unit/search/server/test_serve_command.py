"""``tr-grpo serve-search``: who may reach it, and what it refuses before it starts."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.serve_command import check_exposure, is_loopback, read_token, serve_search
from tr_grpo.search.server.supervisor import listen

TOKEN = "0123456789abcdef"


def refusal(*arguments: str, **environment: str) -> str:
    """The one line with which the command ends."""
    app = typer.Typer()
    app.command()(serve_search)
    result = CliRunner().invoke(app, arguments, env=environment)
    assert isinstance(result.exception, InputError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, public=False, token=None, no_token=False)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.4", "example.org", "localhost.example.org", ""]
)
def test_another_address_needs_public_and_a_token_or_its_explicit_absence(host: str) -> None:
    with pytest.raises(InputError, match="--public"):
        check_exposure(host, public=False, token=TOKEN, no_token=True)
    with pytest.raises(InputError, match="--no-token"):
        check_exposure(host, public=True, token=None, no_token=False)
    check_exposure(host, public=True, token=TOKEN, no_token=False)
    check_exposure(host, public=True, token=None, no_token=True)


def test_the_token_comes_from_the_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}file\n")
    assert read_token(file, TOKEN) == f"{TOKEN}file"
    assert read_token(None, TOKEN) == TOKEN
    assert read_token(None, None) is None


@pytest.mark.parametrize("text", ["", "short", "two words 0123456789", "ümlaut0123456789abc", "0123456789\n0123456789"])
def test_what_is_no_secret_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="openssl rand"):
        read_token(file, None)
    with pytest.raises(InputError, match="TR_GRPO_SEARCH_TOKEN"):
        read_token(None, text)
    with pytest.raises(InputError, match="openssl rand"):
        read_token(tmp_path / "absent", None)


def test_the_command_refuses_with_one_line(tmp_path: Path) -> None:
    assert "either --index" in refusal()
    assert "either --index" in refusal("--index", str(tmp_path), "--shard", "http://a:1")
    assert "--public" in refusal("--index", str(tmp_path), "--host", "0.0.0.0")
    assert "TR_GRPO_SEARCH_TOKEN" in refusal("--index", str(tmp_path), TR_GRPO_SEARCH_TOKEN="")
    assert "--max-waiting 10" in refusal("--index", str(tmp_path), "--max-waiting", "10")


def test_a_taken_port_and_a_foreign_address_are_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}"):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match=r"--host 203\.0\.113\.1"):
        listen("203.0.113.1", 0)
