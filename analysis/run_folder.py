"""Reads a run folder as it is, finished, running or killed at any byte (layout: docs/report.md).

What cannot be read is named in :attr:`Run.problems`; only what leaves nothing to show is an error.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tr_grpo.analysis.run_metrics import Metrics, read_metrics
from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.redaction import redact_override, redacted

LAYOUT = 1
"""The newest layout that is read, that of ``trainer/run_log.py``; 0 has no events and no rollouts."""


@dataclass(frozen=True)
class Start:
    """One start of the run: an entry of ``events.jsonl``, with the one that tells of its end."""

    number: int
    time: float
    steps: int | None
    overrides: tuple[str, ...] = ()
    code: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Mapping[str, str], ...] = ()
    ledger: Mapping[str, Any] = field(default_factory=dict)
    pid: int | None = None
    ended: float | None = None
    status: str | None = None
    """done, failed, stopped (on request, saved) or interrupted; None while it runs, and for ever after a kill."""
    message: str = ""


@dataclass(frozen=True)
class Response:
    """One recorded response; the lists have one entry a token (``recipe/token_record.py``)."""

    step: int
    update: int
    uid: str
    session: int
    data_source: str
    prompt: str
    ground_truth: str
    verdict: str | None
    score: float | None
    update_mass: float
    update_mass_before: float
    ids: list[int]
    tokens: list[str]
    mask: list[bool]
    log_prob: list[float]
    old_log_prob: list[float]
    rollout_log_prob: list[float]
    advantage: list[float]
    weight: list[float]
    gradient: list[float]


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: where it lies.
        layout: version of the layout.
        config: the resolved config of the last start; empty if it is not there.
        metrics: by step, in order, merged over the starts.
        starts: in order; empty in layout 0.
        problems: one line for each thing that could not be read or does not fit together.
    """

    folder: Path
    layout: int
    config: dict[str, Any]
    metrics: dict[int, Metrics]
    starts: tuple[Start, ...]
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def algo(self) -> str:
        """The config's ``group.algo``; ``?`` without a config."""
        return str(self.value("group.algo") or "?")

    def value(self, key: str) -> Any:
        """The config's value of a dotted key, or None."""
        node: Any = self.config
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return None
            node = node[part]
        return node

    @property
    def steps(self) -> int | None:
        """The steps that the last start was to reach, if it said so."""
        return self.starts[-1].steps if self.starts else self.value("trainer.total_training_steps")

    @cached_property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps of the checkpoints on disk."""
        found = (re.fullmatch(r"global_step_(\d+)", path.name) for path in self.folder.glob("global_step_*"))
        return tuple(sorted(int(match[1]) for match in found if match))

    @cached_property
    def rollouts(self) -> dict[tuple[int, int], Path]:
        """The files of recorded responses by step and update, in order."""
        paths = {}
        for path in (self.folder / "rollouts").glob("step-*-update-*.parquet"):
            match = re.fullmatch(r"step-(\d+)-update-(\d+)", path.stem)
            if match:
                paths[int(match[1]), int(match[2])] = path
        return dict(sorted(paths.items()))

    def responses(self, step: int, update: int) -> list[Response]:
        """The recorded responses of one update.

        Raises:
            InputError: the file is not a whole parquet file of this layout.
        """
        return read_responses(self.rollouts[step, update])


def read_responses(path: Path) -> list[Response]:
    """The recorded responses of a file; InputError if it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
        names = Response.__dataclass_fields__
        return [Response(**{name: row[name] for name in names}) for row in rows]
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise InputError(f"{path}: not a file of recorded responses ({error}); move it away") from error


def open_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: there is no such folder, it has no metrics, or a newer version wrote it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder; name the folder that holds metrics-000.jsonl")
    problems: list[str] = []
    events = list(_events(folder, problems))
    layouts = [int(event.get("layout", 0)) for event in events if event["event"] == "start"]
    if max(layouts, default=0) > LAYOUT:
        raise InputError(
            f"{folder}: its layout is version {max(layouts)}, this version reads up to {LAYOUT}; update tr-grpo"
        )
    files = list(folder.glob("metrics-*.jsonl"))
    if not files and not events:
        raise InputError(f"{folder}: no metrics-*.jsonl in it; name the folder of a run (trainer.default_local_dir)")
    metrics = read_metrics(folder)
    if not metrics:
        problems.append(f"{folder}: no step was finished")
    starts = tuple(_starts(events))
    mixed = {name for start in starts for name, version in start.versions.items() if _differs(starts, name, version)}
    if mixed:
        problems.append(f"{folder}: its starts ran with different versions of {', '.join(sorted(mixed))}")
    return Run(folder, max(layouts, default=0), _config(folder, problems), metrics, starts, tuple(problems))


def _differs(starts: tuple[Start, ...], name: str, version: str) -> bool:
    return any(start.versions.get(name, version) != version for start in starts)


def _config(folder: Path, problems: list[str]) -> dict[str, Any]:
    import yaml

    path = folder / "config.yaml"
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        problems.append(f"{path}: not there; the settings are not shown")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{path}: not YAML ({' '.join(str(error).split())[:200]}); the settings are not shown")
        return {}
    if not isinstance(config, dict):
        problems.append(f"{path}: not a config; the settings are not shown")
        return {}
    # Runs of other versions and tools: what is made of a folder is shown to others.
    return redacted(config)


def _events(folder: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    path = folder / "events.jsonl"
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line:
            continue
        try:
            event = json.loads(line)
            # A restart is told for people; what it was is in the starts.
            known = event["event"] == "restart" or (
                event["event"] in ("start", "end") and {"start", "time"} <= event.keys()
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            known = False
        if known:
            yield redacted(event)
        else:
            problems.append(f"{path}: line {number} is cut short or not an event; it is left out")


def _starts(events: list[dict[str, Any]]) -> Iterator[Start]:
    ends = {event["start"]: event for event in events if event["event"] == "end"}
    for event in events:
        if event["event"] != "start":
            continue
        end = ends.get(event["start"], {})
        yield Start(
            number=event["start"],
            time=event["time"],
            steps=event.get("steps"),
            overrides=tuple(redact_override(text) for text in event.get("overrides", ())),
            code=event.get("code", {}),
            versions=event.get("versions", {}),
            machine=event.get("machine", {}),
            findings=tuple(event.get("findings", ())),
            ledger=event.get("ledger", {}),
            pid=event.get("pid"),
            ended=end.get("time"),
            status=end.get("status"),
            message=end.get("message", ""),
        )
