"""Jobs, hard words and a stand-in for ``tr-grpo`` that says what it was given."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from tr_grpo.trainer.launch.job import Job

HARD_WORDS = (
    "algo=tr_grpo",
    "trainer.experiment_name='it''s \"quoted\"'",
    "+x=$HOME ${oc.env:HOME} $(id) `id` \\ \\\\ !! *",
    "+y=[1, 2,{a: b}] & ; | < > # ~ ? % ( )",
    "data.train_files=[a.parquet,'b c.parquet']",
    "+z= leading and trailing ",
    "+tab=\t+newline=\n+end",
    "+ü=Grüße — 日本語 🙂",
    "~trainer.logger",
    "",
)

# What a command line can hold: anything but NUL, and no lone surrogates.
ANY_WORD = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=30)
ANY_WORDS = st.lists(ANY_WORD, min_size=1, max_size=6).map(tuple)

STAND_IN = r"""#!/bin/sh
printf '%s\0' "$@" > "$SAID.words"
pwd > "$SAID.folder"
env -0 > "$SAID.environ"
exit "${STATUS:-0}"
"""


def job(words: Sequence[str] = HARD_WORDS, nodes: int = 2, **changes: object) -> Job:
    """A run on GPUs, with what a test changes."""
    given = {
        "name": "knights_knaves-tiny-tr_grpo",
        "devices": 8,
        "gpus": True,
        "run_folder": Path("/shared/outputs/run"),
        "folder": Path("/shared"),
        "program": "/opt/venv/bin/tr-grpo",
    }
    return Job(words=tuple(words), nodes=nodes, **(given | changes))  # type: ignore[arg-type]


def executable(path: Path, text: str) -> Path:
    """A program of a few lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class Said:
    """What the stand-in was given."""

    words: tuple[str, ...]
    folder: Path
    environ: Mapping[str, str]

    @classmethod
    def read(cls, report: Path) -> "Said":
        """From the files of ``SAID=report``."""
        entries = report.with_suffix(".environ").read_bytes().decode().split("\0")[:-1]
        words = report.with_suffix(".words").read_bytes().decode().split("\0")[:-1]
        folder = report.with_suffix(".folder").read_text().rstrip("\n")
        return cls(tuple(words), Path(folder), dict(entry.split("=", 1) for entry in entries))


def said(command: Sequence[str], folder: Path) -> Said:
    """Run ``command`` and return what the stand-in was given."""
    environ = os.environ | {"SAID": str(folder / "said")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return Said.read(folder / "said")


def words_after_dashes(words: Sequence[str]) -> tuple[str, ...]:
    """What ``tr-grpo launch … -- words`` hands on to the training."""
    return tuple(words[words.index("--") + 1 :])
