"""``tr-grpo index`` as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from small_indexes import passages, write_corpus
from typer.testing import CliRunner, Result

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.index_command import app

GIVEN = passages(30)
DOC = (Path(__file__).parents[3] / "docs" / "search_index.md").read_text(encoding="utf-8")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_build_search_and_check(tmp_path: Path) -> None:
    first, second = write_corpus(tmp_path / "a.jsonl", GIVEN[:20]), write_corpus(tmp_path / "b.jsonl", GIVEN[20:])
    result = run("build", "--corpus", first, second, "--out", tmp_path / "index", "--k1", 1.2)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path}/index: bm25, 30 passages" in result.output
    settings = json.loads((tmp_path / "index" / "manifest.json").read_text())["settings"]
    assert [entry["file"] for entry in settings["corpus"]["files"]] == ["a.jsonl", "b.jsonl"]
    assert settings["bm25"]["k1"] == 1.2
    found = run("search", tmp_path / "index", GIVEN[3].text, "--top-k", 2).output
    assert [line[:2] for line in found.splitlines()[::2]] == ["1.", "2."]
    assert "no passage matches" in run("search", tmp_path / "index", "zebra").output
    assert "bm25, 30 passages, 7 files as written" in run("check", tmp_path / "index").output


def test_check_finds_a_changed_file(tmp_path: Path) -> None:
    run("build", "--corpus", write_corpus(tmp_path / "a.jsonl", GIVEN), "--out", tmp_path / "index")
    with (tmp_path / "index" / "bm25" / "data.csc.index.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(InputError, match=r"data\.csc\.index\.npy: sha256"):
        run("check", tmp_path / "index")


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "a.jsonl", GIVEN)
    with corpus.open("a") as file:
        file.write("{}\n")
    result = run("build", "--corpus", corpus, "--out", tmp_path / "index", "--on-bad-row", "skip", "--shard", "1/3")
    assert "shard 1 of 3: the corpus has 30 passages" in result.output
    assert "warning: 1 bad records were left out (dropped.jsonl)" in result.output


@pytest.mark.parametrize("shard", ["1", "a/b", "3/3", "1/2/3"])
def test_a_shard_has_to_be_one_of_its_number(tmp_path: Path, shard: str) -> None:
    with pytest.raises(InputError, match=f"--shard {shard}: has to be"):
        run("build", "--corpus", tmp_path / "a.jsonl", "--out", tmp_path / "index", "--shard", shard)


def test_the_document_names_every_option_of_a_build_and_no_other() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    options = {name: {option for part in command.params for option in part.opts} for name, command in commands.items()}
    ours = "".join(line for line in DOC.splitlines(True) if "hf download" not in line)
    named = set(re.findall(r"--[a-z][a-z0-9-]*", ours))
    assert named <= set().union(*options.values())
    assert options["build"] <= named
