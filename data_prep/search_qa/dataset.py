"""From sources to ``train.parquet`` and ``test.parquet``, apart by question; the manifest comes last."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math.inputs import Input
from tr_grpo.data_prep.math.sources import Source
from tr_grpo.data_prep.math.writing import Listing
from tr_grpo.data_prep.schema import validate_parquet, write_rows
from tr_grpo.data_prep.search_qa.apart import TASK, QuestionFile, prove_apart, question_files, question_keys
from tr_grpo.data_prep.search_qa.inputs import inputs_of
from tr_grpo.data_prep.search_qa.making import Making, Progress
from tr_grpo.data_prep.search_qa.questions import schema, to_row
from tr_grpo.data_prep.search_qa.templates import TEMPLATES
from tr_grpo.data_prep.storage import SPLITS, Manifest, OutputFolder, digest_of, sha256

FORMAT = 1  # raise it when the same input gives other rows
DROPPED, BAD = "dropped.jsonl", "bad_rows.jsonl"


@dataclass(frozen=True)
class SearchQAConfig:
    """A data set: one source, the template around its questions, and what is left out."""

    out: Path
    source: Source
    inputs: tuple[str, ...] = ()  # hub name, folder or files; none: the source's hub name
    template: str = "search_r1"
    data_source: str = ""  # default: the source's name; of Search-R1's own file, each row's own
    split: str = ""  # make only this one; for an own file: what it is
    question_column: str = ""
    answer_column: str = ""
    apart_from: tuple[Path, ...] | None = None  # None: the test sets beside ``out``
    duplicates: str = "drop"  # or "keep": as published
    on_bad_row: str = "stop"
    limit: int | None = None  # rows kept per split
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            raise InputError(f"--template {self.template}: has to be one of {', '.join(TEMPLATES)}")
        if self.on_bad_row not in ("stop", "skip"):
            raise InputError(f"--on-bad-row {self.on_bad_row}: has to be stop or skip")
        if self.duplicates not in ("drop", "keep"):
            raise InputError(f"--duplicates {self.duplicates}: has to be drop or keep")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: has to be 1 or more")

    @property
    def name(self) -> str:
        """``data_source`` of the rows; empty: each row says its own."""
        if self.source.name == "nq_hotpotqa_train":
            return self.data_source
        return self.data_source or ("search_qa/custom" if self.source.own else self.source.name)

    def settings(self) -> dict[str, Any]:
        """What decides the rows beside the inputs, as JSON values."""
        return {
            "template": self.template,
            "prompt": TEMPLATES[self.template].messages("{question}"),
            "question_column": self.question_column or None,
            "answer_column": self.answer_column or None,
            "duplicates": self.duplicates,
            "on_bad_row": self.on_bad_row,
            "limit": self.limit,
        }


def build_dataset(config: SearchQAConfig, progress: Progress = lambda rows: None) -> Manifest:
    """Write the data set and return its manifest; with the same inputs and settings a second call changes nothing.

    ``progress`` is called with the number of rows just read. An interrupted call leaves no file under its final
    name. Raises ``InputError`` for inputs that cannot be read, a bad row (unless they are skipped), a split of
    which nothing is left, and a folder that holds something else or cannot be written.
    """
    out = Path(config.out)
    inputs = inputs_of(config.source, config.inputs, config.split)
    trains = any(part.to == "train" for part in inputs)
    others = question_files(config.apart_from, out) if trains else []
    described = {
        "format": FORMAT,
        "task": TASK,
        "source": config.source.name,
        "data_source": config.name or "of each row",
        "licence": config.source.licence,
        "inputs": [part.described for part in inputs],
        "settings": config.settings(),
    }
    digest = digest_of(described | {"test_sets": [file.sha256 for file in others]})
    folder = OutputFolder(out, digest, extras=(DROPPED, BAD))
    done = folder.finished()
    if done is not None:
        return done
    folder.open(config.overwrite, 2 * sum(part.bytes for part in inputs))
    try:
        with Listing(folder.shards / DROPPED) as dropped, Listing(folder.shards / BAD) as bad:
            making = Making(config, dropped, bad, progress)
            _write(making, inputs, others, folder.shards)
        written = {f"{split}.parquet": making.counts[split]["kept"] for split in SPLITS if split in making.counts}
        written |= {listing.path.name: listing.lines for listing in (dropped, bad) if listing.lines}
        manifest = described | {
            "config_sha256": digest,
            "counts": making.counts,
            # None: nothing to keep apart.
            "separation": _separation(folder.shards, others, "test" in making.counts) if trains else None,
            "files": {name: _described(folder.shards / name, count) for name, count in written.items()},
            "versions": {name: version(name) for name in ("tr-grpo", "pyarrow", "datasets")}
            | {"python": platform.python_version()},
        }
        for name in written:
            os.replace(folder.shards / name, out / name)
        folder.finish(manifest)
    except OSError as error:
        raise InputError(f"{out}: cannot write ({error.strerror or error}); choose another --out") from error
    finally:
        # Nothing in it is of use to a later call: a stream cannot be taken up in its middle.
        shutil.rmtree(folder.shards.parent, ignore_errors=True)
    return manifest


def _write(making: Making, inputs: list[Input], others: list[QuestionFile], folder: Path) -> None:
    """Write the splits that have inputs, test first: train is kept apart from it."""
    config, tested = making.config, {question: file.name for file in others for question in question_keys(file.path)}
    for split in SPLITS[::-1]:
        parts = [part for part in inputs if part.to == split]
        if not parts:
            continue
        questions = making.make(split, parts, tested)
        if split == "test":
            tested |= dict.fromkeys((question.key for question in questions), "test.parquet of this folder")
        template = TEMPLATES[config.template]
        rows = (to_row(each, template, config.source.name, split, n) for n, each in enumerate(questions))
        write_rows(folder / f"{split}.parquet", rows, schema())


def _separation(folder: Path, others: list[QuestionFile], tests_too: bool) -> dict[str, Any]:
    """The sets that the training questions are apart from, and the proof from the files as they were written."""
    paths = [file.path for file in others] + [folder / "test.parquet"] * tests_too
    sets = [{"file": file.name, "sha256": file.sha256} for file in others]
    return {"sets": sets, **prove_apart(folder / "train.parquet", paths)}


def _described(path: Path, rows: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"rows": rows, "sha256": sha256(path)}
    if path.suffix == ".parquet":
        validate_parquet(path)
        entry["role"] = "evaluation" if path.name == "test.parquet" else "train"
    return entry
