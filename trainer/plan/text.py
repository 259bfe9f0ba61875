"""A plan as sentences and tables: for a terminal, as Markdown, and as numbers for JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

from tr_grpo.trainer.plan.planning import Plan, on_every_card
from tr_grpo.trainer.plan.suggest import SHARE, Suggestion, roomier, suggest

PREFIX = "actor_rollout_ref."
NOTE = "Estimates on paper, not measurements: nothing here was run on a GPU. Assumed numbers are listed at the end."


@dataclass(frozen=True)
class Table:
    """A header and rows of cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = str | Table


def gb(size: float) -> str:
    """Bytes in the data sheets' decimal GB."""
    return f"{size / 1e9:,.1f}"


def blocks(plan: Plan) -> Iterator[Block]:
    """All that there is to say, in order."""
    run, shape = plan.run, plan.shape
    yield NOTE
    yield (
        f"{shape.name}: {shape.parameters / 1e9:.3f} billion parameters (shape: {shape.source}). "
        f"{run.gpus} × {plan.card.name} ({plan.card.memory / 1e9:.0f} GB), {run.gpus_per_node} a node. "
        f"{run.responses:,} responses a step ({run.prompts:,} × {run.responses_per_prompt}), at most "
        f"{run.prompt_limit:,} + {run.response_limit:,} tokens each; {run.updates} updates."
    )
    yield Table(
        ("memory of a GPU", "GB", "how counted", f"what shrinks it ({PREFIX}…)"),
        [row for phase in plan.memory.phases for row in _phase(plan, phase.name)],
    )
    cache = plan.memory.cache
    yield (
        f"KV cache: {cache.tokens:,.0f} tokens an engine, {cache.tokens / run.max_model_len:,.1f} sequences of "
        f"{run.max_model_len:,} tokens. Host memory for what is offloaded: {gb(plan.memory.host)} GB a node."
    )
    suggestion = suggest(plan)
    yield from _verdict(plan, suggestion)
    best = suggestion.plan
    if best.fits:
        yield from _time(best, suggestion)
    yield Table(("the same run on", "largest phase", "GB", "of", "fits"), list(_cards(plan)))
    yield Table(("assumed", "value", "what it is"), [(n, f"{v:g}", why) for n, v, why in plan.assumed.rows()])


def _phase(plan: Plan, name: str) -> Iterator[tuple[str, str, str, str]]:
    phase = next(phase for phase in plan.memory.phases if phase.name == name)
    mark = "fits" if phase.bytes <= plan.card.memory else "DOES NOT FIT"
    yield f"{phase.name}", gb(phase.bytes), f"{mark}: {plan.card.memory / 1e9:.0f} GB", ""
    for item in phase.items:
        yield f"  {item.name}", gb(item.bytes), item.formula, item.knob.removeprefix(PREFIX)


def _verdict(plan: Plan, suggestion: Suggestion) -> Iterator[Block]:
    if plan.fits:
        spare = plan.card.memory - plan.memory.peak.bytes
        yield f"It fits: the fullest phase is {plan.memory.peak.name}, {gb(spare)} GB are left."
    else:
        yield "It does not fit. " + ". ".join(problem.text for problem in plan.problems) + "."
        changes = " ".join(f"{key}={value}" for key, value in suggestion.overrides.items())
        if suggestion.left:
            furthest = f" Furthest: {changes}. Left: {'. '.join(suggestion.left)}." if changes else ""
            yield f"No settings were found that fit.{furthest} A smaller model or larger cards would."
        else:
            yield f"The smallest changes that make it fit: {changes}"
            yield (
                f"With them: {gb(suggestion.plan.memory.peak.bytes)} GB at most ({suggestion.plan.memory.peak.name}), "
                f"{gb(suggestion.plan.memory.host)} GB of each node's host memory."
            )
    share = roomier(suggestion.plan)
    if share is not None:
        yield f"The KV cache limits the rollout: {SHARE}={share:g} fits, too, and is faster."


def _time(plan: Plan, suggestion: Suggestion) -> Iterator[Block]:
    time = plan.time
    if suggestion.overrides:
        yield "Time, with these changes:"
    yield Table(
        ("a step", "seconds", "share"),
        [(name, f"{seconds:.1f}", f"{seconds / time.seconds:.0%}") for name, seconds in time.parts().items()]
        + [("in all", f"{time.seconds:.1f}", "100%")],
    )
    yield (
        f"{time.tokens:,.0f} tokens a step at the assumed lengths, {time.tokens / time.seconds / plan.run.gpus:,.0f} a "
        f"GPU and second. {plan.gpu_hours:.2f} GPU hours a step, {100 * plan.gpu_hours:,.0f} for 100 steps. "
        f"Rollout: {plan.run.engines} engines with {time.rollout.slots} responses in flight at most (limited by "
        f"{time.rollout.limited_by}), bound by {time.rollout.bound}; stragglers are {time.rollout.tail:.0%} of it."
    )


def _cards(plan: Plan) -> Iterator[tuple[str, ...]]:
    for name, other in on_every_card(plan).items():
        peak = other.memory.peak
        if other.fits:
            verdict = "yes"
        elif peak.bytes > other.card.memory:
            verdict = "no"
        else:
            verdict = "no: KV cache"
        yield name, peak.name, gb(peak.bytes), f"{other.card.memory / 1e9:.0f}", verdict


def as_json(plan: Plan) -> dict[str, Any]:
    """The same as numbers: bytes, seconds, tokens."""
    suggestion = suggest(plan)
    best = suggestion.plan
    return {
        "note": NOTE,
        "model": asdict(plan.shape) | {"parameters": plan.shape.parameters},
        "card": asdict(plan.card),
        "gpus": plan.run.gpus,
        "fits": plan.fits,
        "problems": [problem.text for problem in plan.problems],
        "phases": [
            {"name": p.name, "bytes": p.bytes, "items": [asdict(i) for i in p.items]} for p in plan.memory.phases
        ],
        "kv_cache": asdict(plan.memory.cache),
        "host_bytes_a_node": plan.memory.host,
        "suggestion": {"overrides": dict(suggestion.overrides), "fits": best.fits, "left": list(suggestion.left)},
        "step": {
            "of_the_suggestion": bool(suggestion.overrides),
            "seconds": best.time.parts() | {"step": best.time.seconds},
            "tokens": best.time.tokens,
            "gpu_hours": best.gpu_hours,
            "rollout": asdict(best.time.rollout),
        }
        if best.fits
        else None,
        "cards": {name: other.fits for name, other in on_every_card(plan).items()},
        "assumed": {name: value for name, value, _ in plan.assumed.rows()},
    }


def as_markdown(parts: Sequence[Block]) -> str:
    """Paragraphs and Markdown tables."""
    texts = []
    for block in parts:
        if isinstance(block, str):
            texts.append(block)
            continue
        lines = [block.header, ["---"] * len(block.header), *block.rows]
        # Two leading blanks are a phase's items: Markdown drops them.
        texts.append("\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines))
    return "\n\n".join(texts)


def _cell(text: str) -> str:
    text = text.replace("|", "\\|")
    return "– " + text.strip() if text.startswith("  ") else text


def as_terminal(parts: Sequence[Block], width: int = 130) -> str:
    """Paragraphs and rich's tables, without colours."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    stream = StringIO()
    console = Console(file=stream, width=width, no_color=True, highlight=False, markup=False)
    for block in parts:
        if isinstance(block, str):
            console.print(Text(block))
        else:
            table = RichTable()
            for name in block.header:
                table.add_column(name, overflow="fold")
            for row in block.rows:
                table.add_row(*(Text(cell) for cell in row))
            console.print(table)
    return stream.getvalue().rstrip()
