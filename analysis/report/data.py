"""Everything that the page shows, as one JSON value."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tr_grpo.analysis.report import curves, facts
from tr_grpo.analysis.report.methods import Method, difference, group
from tr_grpo.analysis.report.numbers import shorts
from tr_grpo.analysis.report.reading import Record
from tr_grpo.analysis.report.sampling import token_view
from tr_grpo.analysis.report.tokens import share_names

PAGE_BYTES = 4_900_000
"""Most bytes of a page: the token view takes what the rest leaves."""
ASSET_BYTES = 100_000
"""Room for the template, the style and the script."""
LEAST_TOKENS = 300_000
"""What the token view may take even where the curves of very many methods fill the page."""
ESCAPES = {"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""What would end the script element or, in old engines, a string."""
Json = dict[str, Any]


def page_data(records: Sequence[Record]) -> Json:
    """What the page shows of the runs."""
    found = difference(records)
    methods = group(records, found)
    last_starts = [record.run.starts[-1] if record.run.starts else None for record in records]
    labels = [record.label for record in records]
    data: Json = {
        "headline": facts.headline(records, methods),
        "methods": [{"label": method.label, "runs": [labels[place] for place in method.records]} for method in methods],
        "runs": labels,
        "shares": [share_names(record.run) for record in records],
        "charts": charts(records, methods),
        "stacks": [stacks(records, method) for method in methods],
        "facts": facts.runs(records, methods),
        "settings": facts.settings(records, found),
        "ledger": facts.side_by_side(labels, [facts.ledger(start) if start else {} for start in last_starts]),
        "findings": facts.findings(records),
        "machine": facts.side_by_side(labels, [facts.machine(start) if start else {} for start in last_starts]),
        "without_events": [label for label, start in zip(labels, last_starts, strict=True) if start is None],
    }
    problems = [problem for record in records for problem in record.problems]
    room = PAGE_BYTES - ASSET_BYTES - len(dumps(data)) - len(dumps({"problems": problems}))
    data["tokens"], unreadable = token_view(records, max(room, LEAST_TOKENS))
    return data | {"problems": problems + unreadable}


def dumps(data: Any) -> str:
    """JSON in ASCII that may stand in a script element; lone surrogates and NUL are escaped and survive."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text


def charts(records: Sequence[Record], methods: Sequence[Method]) -> list[Json]:
    """The line charts: held-out accuracy first, one for each validation metric; each says which key is absent."""
    validated = sorted({key for record in records for key in record.columns if key.startswith(curves.HELD_OUT)})
    absent = [] if validated else [curves.Chart("val-core/…", "Held-out accuracy", "")]
    drawn = []
    for chart in (*(curves.held_out(key) for key in validated), *absent, *curves.CHARTS):
        series = _series(records, methods, chart.key, second=False)
        if not series and chart.optional:
            continue
        second = _series(records, methods, chart.second, second=True) if chart.second else []
        drawn.append(
            {
                "title": chart.title,
                "key": chart.key,
                "caption": chart.caption,
                "second": {"key": chart.second, "label": chart.second_label} if chart.second else None,
                "series": series + second,
                "thinned": max((line["of"] for line in series if line["of"] > len(line["steps"])), default=0),
            }
        )
    return drawn


def _series(records: Sequence[Record], methods: Sequence[Method], key: str, second: bool) -> list[Json]:
    lines = []
    for place, method in enumerate(methods):
        whole = _band(records, method, key)
        if whole is None:
            continue
        curve = curves.thin(whole)
        line: Json = {
            "method": place,
            "second": second,
            "of": len(whole.steps),
            "steps": curve.steps.tolist(),
            "mean": shorts(curve.mean),
        }
        if not np.array_equal(curve.low, curve.high):
            line |= {"low": shorts(curve.low), "high": shorts(curve.high)}
        smooth = None if second else curves.trend(whole)
        if smooth is not None:
            line["trend"] = shorts(smooth[np.isin(whole.steps, curve.steps)])
        lines.append(line)
    return lines


def stacks(records: Sequence[Record], method: Method) -> Json:
    """The stacked charts of one method: gradient mass by bucket, and verdicts."""
    buckets = {}
    for series in curves.BUCKET_SERIES:
        keys = [f"actor/{series}/{bucket}" for bucket in curves.BUCKETS]
        buckets[series] = _stack(records, method, keys, list(curves.BUCKETS))
    names = dict.fromkeys(
        key for place in method.records for key in records[place].columns if key.startswith(curves.VERDICT)
    )
    verdicts = _stack(records, method, list(names), [key.removeprefix(curves.VERDICT) for key in names])
    # A verdict that never came up is told in words, not drawn.
    never = [name for index, name in enumerate(verdicts["names"]) if not any(row[index] for row in verdicts["rows"])]
    kept = [index for index, name in enumerate(verdicts["names"]) if name not in never]
    verdicts["rows"] = [[row[index] for index in kept] for row in verdicts["rows"]]
    verdicts["names"] = [verdicts["names"][index] for index in kept]
    verdicts["means"] = [verdicts["means"][index] for index in kept]
    return {"label": method.label, "buckets": buckets, "verdicts": verdicts | {"never": never}}


def _stack(records: Sequence[Record], method: Method, keys: Sequence[str], names: list[str]) -> Json:
    bands = [_band(records, method, key) for key in keys]
    steps, rows = curves.columns_of_means(bands)
    longest = max((len(curve.steps) for curve in bands if curve is not None), default=0)
    return {
        "names": names,
        "steps": steps,
        "rows": [shorts(row) for row in rows],
        "means": shorts([np.nan if curve is None else float(curve.mean.mean()) for curve in bands]),
        "last": max((int(curve.steps[-1]) for curve in bands if curve is not None), default=None),
        "of": longest,
    }


def _band(records: Sequence[Record], method: Method, key: str) -> curves.Band | None:
    columns = [records[place].columns[key] for place in method.records if key in records[place].columns]
    return curves.band(columns) if columns else None
