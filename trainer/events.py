"""``events.jsonl`` of a run folder, a line an event; imports nothing heavy."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tr_grpo.trainer.redaction import redacted

EVENTS = "events.jsonl"


def append(run_folder: Path, event: dict[str, Any]) -> None:
    """Add one line, with the time, without secrets; a line that a kill cut short is ended first and spoils no other."""
    path = run_folder / EVENTS
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps({"time": time.time(), **redacted(event)}).encode() + b"\n")


def read(run_folder: Path) -> list[dict[str, Any]]:
    """All whole lines; one that a kill cut short is left out."""
    path, events = run_folder / EVENTS, []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events
