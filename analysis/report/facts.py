"""What stands beside the curves: the headline, the runs, their settings, ledger, findings, machines and versions."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tr_grpo.analysis.config_difference import Differences, Sorted
from tr_grpo.analysis.report.curves import HELD_OUT, band
from tr_grpo.analysis.report.methods import Method
from tr_grpo.analysis.report.reading import Record
from tr_grpo.analysis.run_folder import Start

Table = dict[str, Any]
"""``{"columns": [...], "rows": [[name, value, ...], ...]}``, all strings."""
TRAINING_ACCURACY = "reward/acc"


def accuracy_key(records: Sequence[Record]) -> str | None:
    """The metric that the headline calls accuracy: held-out where there is one, else that of training."""
    keys = sorted({key for record in records for key in record.columns if key.startswith(HELD_OUT)})
    accuracies = [key for key in keys if "/acc/" in key] or keys
    if accuracies:
        return accuracies[0]
    return TRAINING_ACCURACY if any(TRAINING_ACCURACY in record.columns for record in records) else None


def headline(records: Sequence[Record], methods: Sequence[Method]) -> str:
    """One sentence: what ran, how far, and how accurate it was in the end."""
    first = records[0].run
    where = " on ".join(str(value) for key in ("llm", "task") if (value := first.value(f"group.{key}")))
    ran = " and ".join(_said(method) for method in methods)
    steps = [record.last for record in records if record.last is not None]
    if not steps:
        return f"{ran}{f', {where}' if where else ''}: no step was finished."
    reached = f"{min(steps):,} to {max(steps):,}" if min(steps) != max(steps) else f"{steps[0]:,}"
    start = f"{ran}{f', {where}' if where else ''}, {reached} step{'s' if reached != '1' else ''}"
    key = accuracy_key(records)
    if key is None:
        return f"{start}; no accuracy was measured."
    ends = []
    for method in methods:
        columns = [records[place].columns[key] for place in method.records if key in records[place].columns]
        if columns:
            curve = band(columns)
            ends.append(f"{curve.mean[-1]:.3f} ({method.label}, step {int(curve.steps[-1]):,})")
    what = "training accuracy" if key == TRAINING_ACCURACY else "held-out accuracy"
    return f"{start}: last {what} {' and '.join(ends)}, as {key}."


def _said(method: Method) -> str:
    return f"{method.label} ({len(method.records)} seeds)" if len(method.records) > 1 else method.label


def side_by_side(names: Sequence[str], facts: Sequence[Mapping[str, str]], every: str = "all runs") -> Table:
    """A table with a row a fact and a column a run; runs with the same facts share a column."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, own in zip(names, facts, strict=True):
        groups.setdefault(tuple(sorted(own.items())), []).append(name)
    keys = list(dict.fromkeys(key for own in facts for key in own))
    columns = [every if len(groups) == 1 and len(names) > 1 else ", ".join(members) for members in groups.values()]
    rows = [[key, *(dict(group).get(key, "–") for group in groups)] for key in keys]
    return {"columns": columns, "rows": rows}


def ledger(start: Start) -> dict[str, str]:
    """The batch ledger in words, from its event."""
    own = start.ledger
    if not own:
        return {}
    facts = {
        "prompts a step": f"{own['prompts']:,}",
        "responses a step": f"{own['responses']:,} ({own['responses_per_prompt']} a prompt)",
        "updates a step": f"{own['updates']} of {own['mini_batch_prompts'] * own['responses_per_prompt']:,} responses",
        "passes over a batch": str(own["epochs_per_batch"]),
        "tokens a step": f"at most {own['tokens']:,} ({own['prompt_limit']} + {own['response_limit']} a response)",
        "clipping can act": "yes, from the second update" if own["updates"] > 1 else "no: one update a batch",
        "devices": str(own["devices"]),
    }
    cut = own["micro_batch_per_device"]
    facts["micro-batches"] = (
        f"{cut} responses a device" if cut else f"cut at {own['micro_batch_tokens']:,} tokens a device"
    )
    return facts


def machine(start: Start) -> dict[str, str]:
    """Machine, code and versions of a start, in words."""
    own = start.machine
    facts: dict[str, str] = {}
    if own:
        facts |= {
            "host": str(own.get("host", "–")),
            "system": str(own.get("system", "–")),
            "cores": str(own.get("cores", "–")),
            "memory": f"{own.get('memory_gb', '–')} GB",
            "GPUs": ", ".join(map(str, own.get("gpus", ()))) or "none",
        }
    if start.code.get("commit"):
        facts["code"] = str(start.code["commit"])[:12] + (" with changes" if start.code.get("changed") else "")
    return facts | {name: str(version) for name, version in start.versions.items()}


def runs(records: Sequence[Record], methods: Sequence[Method]) -> Table:
    """A row a run: what it was, how far it came, how it ended."""
    method_of = {place: method.label for method in methods for place in method.records}
    rows = []
    for place, record in enumerate(records):
        run, last = record.run, record.run.starts[-1] if record.run.starts else None
        ended = "unknown (no events)" if last is None else last.status or "not ended, or killed"
        if last is not None and last.message:
            ended += f": {last.message}"
        began = datetime.fromtimestamp(run.starts[0].time, UTC).strftime("%Y-%m-%d %H:%M UTC") if run.starts else "–"
        seed = run.value("data.seed")
        reached = "none" if record.last is None else f"{record.last:,}"
        planned = run.steps
        rows.append(
            [
                record.label,
                method_of[place],
                "–" if seed is None else str(seed),
                f"{reached} of {planned:,}" if isinstance(planned, int) else reached,
                began,
                str(len(run.starts)) if run.starts else "–",
                ended,
            ]
        )
    return {"columns": ["method", "seed", "steps", "began", "starts", "ended"], "rows": rows}


def findings(records: Sequence[Record]) -> list[dict[str, str]]:
    """The preflight's findings, the same finding of several runs once."""
    found: dict[tuple[str, ...], list[str]] = {}
    for record in records:
        for start in record.run.starts:
            for finding in start.findings:
                key = tuple(str(finding.get(name, "")) for name in ("code", "severity", "message", "fix"))
                members = found.setdefault(key, [])
                if record.label not in members:
                    members.append(record.label)
    names = ("code", "severity", "message", "fix")
    return [dict(zip(names, key, strict=True)) | {"runs": ", ".join(members)} for key, members in found.items()]


def settings(records: Sequence[Record], found: Sorted) -> dict[str, Any]:
    """What differs among the runs, in a sentence and in tables."""
    known = [record for record in records if record.run.config]
    if len(known) < 2:
        said = "One run: there is nothing to compare." if known else "No config was found."
        return {"said": said, "parts": []}
    if found.other:
        said = f"Beside the method, {len(found.other)} settings differ: a difference of outcomes may be theirs."
    elif found.method and found.seeds:
        said = "Only the method and the seeds differ."
    elif found.method:
        said = "Only the method differs."
    elif found.seeds:
        said = "Only the seeds differ."
    else:
        said = "No setting that matters differs."
    if len(known) < len(records):
        said += f" {len(records) - len(known)} runs have no config and are not compared."
    titles = {"Method": found.method, "Other settings": found.other, "Seeds": found.seeds}
    names = [record.label for record in known]
    return {"said": said, "parts": [_part(title, names, part) for title, part in titles.items() if part]}


def _part(title: str, names: Sequence[str], part: Differences) -> Table:
    facts = [{key: str(values[name]) for key, values in part.items()} for name in names]
    return {"title": title} | side_by_side(names, facts)
