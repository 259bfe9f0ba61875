"""Reads the metrics of a run: verl's JSON lines, one file for each start of the run."""

import json
from pathlib import Path

from tr_grpo.data_prep.errors import InputError

Metrics = dict[str, float]


def read_metrics(run_folder: Path) -> dict[int, Metrics]:
    """Metrics by step, in order, merged over the run's starts.

    A step that a resumed run repeated is taken from the later start; its keys win one by one. A last line cut
    short by a kill is left out, since its step was not finished.

    Args:
        run_folder: folder with ``metrics-NNN.jsonl`` (none gives an empty result).

    Raises:
        InputError: a line other than the last is not one of verl's file logger.
    """
    steps: dict[int, Metrics] = {}
    for path in sorted(run_folder.glob("metrics-*.jsonl")):
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                record = json.loads(line)
                step, data = int(record["step"]), dict(record["data"])
            except (ValueError, TypeError, KeyError) as error:
                if number == len(lines):
                    continue
                shape = '{"step": ..., "data": {...}}'
                raise InputError(f"{path}: line {number} is not JSON of the shape {shape}; move it away") from error
            steps.setdefault(step, {}).update(data)
    return dict(sorted(steps.items()))


def column(steps: dict[int, Metrics], key: str) -> tuple[list[int], list[float]]:
    """The steps that have ``key``, and its values there."""
    present = [(step, metrics[key]) for step, metrics in steps.items() if key in metrics]
    return [step for step, _ in present], [value for _, value in present]


def weight_mean(metrics: Metrics) -> float | None:
    """The token mean of the weight, averaged over a step's updates; None where it was not measured."""
    return metrics.get("actor/tr/weight_mean")
