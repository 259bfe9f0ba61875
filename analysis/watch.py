"""The view of a run in a terminal: progress, curves, verdicts, memory, warnings and the last response."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tr_grpo.analysis.comparison import ACCURACY
from tr_grpo.analysis.follow import State, silence, state, time_left
from tr_grpo.analysis.health import Finding
from tr_grpo.analysis.run_folder import Response, Run
from tr_grpo.analysis.run_metrics import column
from tr_grpo.analysis.terminal import sparkline, visible
from tr_grpo.data_prep.errors import InputError

CURVES = (
    ("reward", "critic/score/mean"),
    ("right, training", "reward/acc"),
    ("length", "response_length/mean"),
    ("entropy", "actor/entropy"),
    ("gradient norm", "actor/grad_norm"),
    ("clipped", "actor/pg_clipfrac"),
    ("weight", "actor/tr/weight_mean"),
    ("no signal", "reward/groups_without_signal"),
    ("tokens a second", "perf/throughput"),
)
MEMORY = (("device", "actor/perf/max_memory_allocated_gb"), ("host", "actor/perf/cpu_memory_used_gb"))
LABEL = 16
"""Columns of the labels."""
STYLES = {
    State.DONE: "green",
    State.RUNNING: "green",
    State.FAILED: "red",
    State.INTERRUPTED: "yellow",
    State.KILLED: "red",
    State.UNKNOWN: "dim",
}


@dataclass(frozen=True)
class Sample:
    """The last recorded response, or why there is none to show."""

    response: Response | None
    reason: str = ""


def last_sample(run: Run) -> Sample:
    """Of the newest file that is whole: the newest may be in the middle of being written."""
    reason = "no response was recorded"
    for step, update in list(run.rollouts)[:-3:-1]:
        try:
            responses = run.responses(step, update)
        except InputError as error:
            reason = str(error)
            continue
        if responses:
            return Sample(responses[-1])
    return Sample(None, reason)


def view(run: Run, findings: list[Finding], sample: Sample, width: int) -> RenderableType:
    """Everything, in ``width`` columns (60 at least); strings of the run are shown as they are, never interpreted."""
    parts = [_header(run), _progress(run, width), *_curves(run, width), *_verdicts(run, width), *_memory(run)]
    parts += [_plain(f"note: {problem}", "yellow") for problem in run.problems]
    parts += _findings(findings)
    parts += _sample(sample, width)
    return Group(*parts)


def _plain(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style)


def _header(run: Run) -> Text:
    now = state(run)
    text = _plain(run.name, "bold")
    text.append(visible(f"  {run.algo} · {run.value('group.task') or '?'} · {run.value('group.llm') or '?'}  "))
    text.append(str(now), STYLES[now])
    if run.starts and run.starts[-1].message:
        text.append(visible(f": {run.starts[-1].message[:300]}"))
    if now is State.KILLED:
        text.append(f" (process {run.starts[-1].pid} is not on this host, and the run did not say that it ended)")
    if now in (State.RUNNING, State.UNKNOWN) and (quiet := silence(run)) is not None:
        text.append(f", no news for {_duration(quiet)}", "yellow")
    return text


def _progress(run: Run, width: int) -> Text:
    step, total = max(run.metrics, default=0), run.steps
    if not total:
        return Text(f"step {step}")
    left = time_left(run) if state(run) in (State.RUNNING, State.UNKNOWN) else None
    ends = f" {left and _duration(left)} left" if left else ""
    text = f"step {step} of {total}{ends} "
    room = max(width - len(text), 10)
    filled = min(room * step // total, room)
    return Text.assemble(text, ("█" * filled, "green"), ("░" * (room - filled), "dim"))


def _curves(run: Run, width: int) -> Iterator[RenderableType]:
    tested = sorted({key for metrics in run.metrics.values() for key in metrics if ACCURACY.fullmatch(key)})
    curves = [*CURVES[:2], *((f"test {key.split('/')[-3]}", key) for key in tested), *CURVES[2:]]
    table = Table.grid(padding=(0, 1), pad_edge=False)
    table.add_column(width=LABEL, no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for label, key in curves:
        values = [value for value in column(run.metrics, key)[1] if isinstance(value, int | float)]
        if values:
            table.add_row(_plain(label), Text(sparkline(values, width - LABEL - 12), style="cyan"), f"{values[-1]:.4g}")
    if table.row_count:
        yield table


def _verdicts(run: Run, width: int) -> Iterator[RenderableType]:
    prefix = "reward/verdict_"
    for metrics in reversed(run.metrics.values()):
        shares = {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}
        if not shares:
            continue
        for name, share in sorted(shares.items(), key=lambda item: -item[1]):
            if share > 0:
                bar = "█" * round(min(share, 1.0) * (width - LABEL - 12))
                yield Text.assemble(visible(name)[:LABEL].ljust(LABEL + 1), f"{share:6.1%} ", (bar, _colour(name)))
        return


def _colour(verdict: str) -> str:
    return {"right": "green", "wrong": "yellow"}.get(verdict, "red")


def _memory(run: Run) -> Iterator[Text]:
    shown = [f"{name} {values[-1]:.1f} GB" for name, key in MEMORY if (values := column(run.metrics, key)[1])]
    if shown:
        yield Text("memory".ljust(LABEL + 1) + ", ".join(shown))


def _findings(findings: list[Finding]) -> Iterator[Text]:
    for finding in findings:
        yield Text.assemble(
            (f"{finding.code} ", "bold red" if finding.severity == "error" else "bold yellow"),
            visible(finding.message),
            (f" → {visible(finding.fix)}", "dim"),
        )
    if not findings:
        yield Text("no warnings", style="dim")


def _sample(sample: Sample, width: int) -> Iterator[Text]:
    if sample.response is None:
        yield _plain(f"last response: {sample.reason}", "dim")
        return
    found = sample.response
    score = "no score" if found.score is None else f"score {found.score:.4g}"
    yield _plain(f"last response: step {found.step}, {found.verdict or 'no verdict'}, {score}", "bold")
    yield Text(_tail(visible(found.prompt), 2, width), style="dim")
    yield Text(_ends(visible("".join(found.tokens)), 10, width))


def _tail(text: str, lines: int, width: int) -> str:
    return "\n".join(text[-lines * width :].rstrip("\n").split("\n")[-lines:])


def _ends(text: str, lines: int, width: int) -> str:
    """Beginning and end of ``text``, ``lines`` lines of ``width`` characters at most, and how much lies between."""
    pieces = [part[i : i + width] for part in text.split("\n") for i in range(0, max(len(part), 1), width)]
    if len(pieces) <= lines:
        return "\n".join(pieces)
    half = lines // 2
    return "\n".join([*pieces[:half], f"… {len(pieces) - 2 * half} lines …", *pieces[-half:]])


def _duration(seconds: float) -> str:
    """``1:02:03`` from an hour on, else minutes and seconds."""
    whole = timedelta(seconds=round(seconds))
    return str(whole) if seconds >= 3600 else f"{whole.seconds // 60} min {whole.seconds % 60} s"
