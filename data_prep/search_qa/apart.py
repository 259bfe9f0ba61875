"""Test questions that must not be trained on, and the proof that they are not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math.faults import Fault
from tr_grpo.data_prep.schema import read_rows
from tr_grpo.data_prep.search_qa.questions import question_of
from tr_grpo.data_prep.storage import sha256
from tr_grpo.reward.search_qa.matching import key

TASK = "search_qa"
RULE = "equal questions in SQuAD's normal form"


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """A parquet file of test questions."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """Folder and file: ``nq/test.parquet``."""
        return f"{self.path.absolute().parent.name}/{self.path.name}"


def question_files(given: Sequence[Path] | None, out: Path) -> list[QuestionFile]:
    """Those given (parquet files or folders), or (None) those that this command wrote into folders beside ``out``.

    Raises ``InputError`` for a given path that holds none, and for a file changed after it was made.
    """
    if given is None:
        beside = sorted(path.parent for path in out.absolute().parent.glob("*/manifest.json"))
        found = [_of_folder(folder) for folder in beside if folder != out.absolute()]
    else:
        found = [_given(path) for path in given]
    unique = {file.sha256: file for files in found for file in files}
    return sorted(unique.values(), key=lambda file: (file.name, file.sha256))


def question_keys(path: Path) -> list[str]:
    """The normal form of each question of a prepared parquet file, in order."""
    keys = []
    for number, row in enumerate(read_rows(path)):
        try:
            keys.append(key(question_of(row)))
        except Fault as error:
            raise InputError(f"{path}: row {number}: {error}; keep apart from other files") from error
    return keys


def prove_apart(train: Path, tests: Sequence[Path]) -> dict[str, Any]:
    """For the manifest: which questions of the written ``train`` file are in ``tests``; all files are read again."""
    trained = set(question_keys(train))
    shared = {question for path in tests for question in question_keys(path) if question in trained}
    return {"rule": RULE, "shared": len(shared), "proved": not shared}


def _given(path: Path) -> list[QuestionFile]:
    if not path.is_dir():
        question_keys(path)  # says what is wrong with it
        return [QuestionFile(path, sha256(path))]
    files = _of_folder(path)
    for folder in sorted(entry.parent for entry in path.glob("*/manifest.json")):
        files += _of_folder(folder)
    if not files:
        raise InputError(f"{path}: no test set of `tr-grpo prep search-qa` in it; name its parquet files")
    return files


def _of_folder(folder: Path) -> list[QuestionFile]:
    """The test files that a folder's manifest lists; none if it is another program's, or of another task."""
    try:
        manifest: Any = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["task"] != TASK:
            return []
        files = {
            name: entry["sha256"] for name, entry in manifest["files"].items() if entry.get("role") == "evaluation"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    for name, digest in files.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise InputError(f"{folder / name}: missing or changed after it was made; make it again with --overwrite")
    return [QuestionFile(folder / name, digest) for name, digest in files.items()]
