"""Which recorded responses go into the page, and how they are written down in few bytes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tr_grpo.analysis.report.numbers import compact, short, shorts
from tr_grpo.analysis.report.reading import Record
from tr_grpo.analysis.report.tokens import is_unweighted, shares
from tr_grpo.analysis.run_folder import Response, Run
from tr_grpo.data_prep.errors import InputError

SPIKES = 3
"""Steps of the largest gradient norms that are wanted after the first and the last."""
STEPS = 60
"""Most steps of a run whose responses are included."""
TOKENS = 6000
"""Most tokens of a response that the page carries; their shares are of the whole response."""
FLOATS = ("log_prob", "old_log_prob", "advantage", "weight", "gradient")
"""Lists of a response that are read, beside its ids, tokens and mask."""
LOG_UNIT = 1e-5
"""Unit of the log-probabilities on the page."""
SHARE_UNIT = 1e-6
"""Unit of the shares on the page; a share below it that is not 0 counts as one."""


@dataclass
class Interned:
    """Values that are written once and referred to by their place."""

    values: list[Any] = field(default_factory=list)
    _places: dict[Any, int] = field(default_factory=dict)

    def place(self, value: Any) -> int:
        """Where ``value`` stands; it is added if it is new."""
        if value not in self._places:
            self._places[value] = len(self.values)
            self.values.append(value)
        return self._places[value]


def wanted(record: Record) -> Iterator[int]:
    """The recorded steps in the order in which they are wanted: last, first, spikes of the gradient, evenly between."""
    steps = list(dict.fromkeys(step for step, _ in record.run.rollouts))
    if not steps:
        return
    norms = record.columns.get("actor/update/grad_norm_max") or record.columns.get("actor/grad_norm")
    spikes: list[int] = []
    if norms is not None:
        recorded = np.isin(norms.steps, steps)
        largest = np.argsort(-norms.values[recorded], kind="stable")[:SPIKES]
        spikes = [int(step) for step in norms.steps[recorded][largest]]
    given: dict[int, None] = {}
    for step in (steps[-1], steps[0], *spikes, *(steps[place] for place in evenly(len(steps)))):
        if len(given) < STEPS and step not in given:
            given[step] = None
            yield step


def evenly(count: int) -> Iterator[int]:
    """The places 0 … count - 1, each prefix spread over all of them (van der Corput's sequence in base 2)."""
    bits = max(count - 1, 0).bit_length()
    for index in range(1 << bits):
        place = int(f"{index:0{bits}b}"[::-1], 2) if bits else 0
        if place < count:
            yield place


def token_view(records: Sequence[Record], budget: int) -> tuple[dict[str, Any], list[str]]:
    """The token view's data, of at most about ``budget`` bytes, and a line for each file that could not be read.

    The runs take turns, each with the step that it wants most; the first step that does not fit ends it. One step
    always goes in, with as many of its responses as fit, but one at least.
    """
    pieces, texts, problems = Interned(), Interned(), []
    updates: list[dict[str, Any]] = []
    used = 0
    queues = {place: wanted(record) for place, record in enumerate(records)}
    while queues:
        for place in list(queues):
            step = next(queues[place], None)
            if step is None:
                del queues[place]
                continue
            before = len(pieces.values), len(texts.values)
            try:
                encoded = [
                    _update(records[place].run, place, key, pieces, texts)
                    for key in records[place].run.rollouts
                    if key[0] == step
                ]
            except InputError as error:
                problems.append(str(error))
                continue
            size = _size([encoded, pieces.values[before[0] :], texts.values[before[1] :]])
            if used + size > budget and updates:
                queues = {}
                break
            while used + size > budget and _drop_one(encoded):
                size = _size([encoded, pieces.values[before[0] :], texts.values[before[1] :]])
            used += size
            updates += encoded
    updates.sort(key=lambda update: (update["run"], update["step"], update["update"]))
    recorded = sum(len({step for step, _ in record.run.rollouts}) for record in records)
    included = len({(update["run"], update["step"]) for update in updates})
    view = {
        "pieces": pieces.values,
        "texts": texts.values,
        "updates": updates,
        "recorded": recorded,
        "included": included,
    }
    return view, problems


def _drop_one(encoded: list[dict[str, Any]]) -> bool:
    """Take the last response away where there is more than one."""
    for update in reversed(encoded):
        if len(update["responses"]) > 1:
            update["responses"].pop()
            return True
    if len(encoded) > 1:
        encoded.pop()
        return True
    return False


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))


def _update(run: Run, place: int, key: tuple[int, int], pieces: Interned, texts: Interned) -> dict[str, Any]:
    responses = run.responses(*key)
    for response in responses:
        lists = (response.ids, response.tokens, response.mask, *(getattr(response, name) for name in FLOATS))
        if len({len(values) for values in lists}) > 1:
            raise InputError(f"{run.rollouts[key]}: a response's lists differ in length; its step is left out")
    unweighted = is_unweighted(run, responses)
    return {
        "run": place,
        "step": key[0],
        "update": key[1],
        "unweighted": unweighted,
        "responses": [encode(response, unweighted, pieces, texts) for response in responses],
    }


def encode(response: Response, unweighted: bool, pieces: Interned, texts: Interned) -> dict[str, Any]:
    """A response as the page's JSON carries it.

    Lists have one entry a token, or are one number where all tokens have the same: ``t`` the token's place in the
    page's pieces, ``p`` −log π and ``o`` log π − log π_old in ``LOG_UNIT``, ``w`` weight, ``a`` advantage, ``g``
    gradient, ``b`` and ``s`` the shares before and after weighting in ``SHARE_UNIT``. ``m`` is a string of 0 (masked)
    and 1, or empty where no token is masked; ``ub`` and ``us`` are the response's part of the update.
    """
    part = shares(response, unweighted)
    cut = slice(0, TOKENS)
    mask = response.mask[cut]
    log_prob = np.asarray(response.log_prob[cut], dtype=float)
    moved = log_prob - np.asarray(response.old_log_prob[cut], dtype=float)
    counted = np.asarray(mask, dtype=bool)

    def shown(values: Sequence[float]) -> Any:
        kept = shorts([value for value, on in zip(values[cut], mask, strict=True) if on])
        if kept and kept.count(kept[0]) == len(kept):
            return kept[0]
        every = iter(kept)
        return [next(every) if on else None for on in mask]

    return {
        "prompt": texts.place(response.prompt),
        "truth": texts.place(response.ground_truth),
        "source": texts.place(response.data_source),
        "uid": texts.place(response.uid),
        "session": response.session,
        "verdict": response.verdict,
        "score": short(response.score),
        "length": len(response.tokens),
        "counted": int(np.sum(response.mask)),
        "t": [pieces.place(pair) for pair in zip(response.ids[cut], response.tokens[cut], strict=True)],
        "m": "" if all(mask) else "".join("01"[on] for on in mask),
        "p": _whole(np.where(counted, -log_prob, np.nan), LOG_UNIT),
        "o": compact(_whole(np.where(counted, moved, 0.0), LOG_UNIT)),
        "w": shown(response.weight),
        "a": shown(response.advantage),
        "g": shown(response.gradient),
        "b": compact(_shares(part.before[cut])),
        "s": compact(_shares(part.after[cut])),
        "ub": short(part.update_before),
        "us": short(part.update_after),
    }


def _whole(values: np.ndarray, unit: float) -> list[int | None]:
    """``values`` (n,) in whole units; None where there is no finite one."""
    return [round(value / unit) if np.isfinite(value) else None for value in values.tolist()]


def _shares(values: np.ndarray) -> list[int | None]:
    """Shares (n,) in ``SHARE_UNIT``; only a token without gradient has 0."""
    shown = _whole(values, SHARE_UNIT)
    return [1 if unit == 0 and value > 0 else unit for unit, value in zip(shown, values.tolist(), strict=True)]
