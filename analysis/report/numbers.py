"""Numbers as the page carries them: few digits, and null where there is no number."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

DIGITS = 4
"""Significant digits of the page's numbers; the run folder keeps them all."""
T = TypeVar("T")


def short(value: float | None, digits: int = DIGITS) -> float | int | None:
    """``value`` to few significant digits, whole where that loses nothing; None for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) else rounded


def shorts(values: Iterable[float]) -> list[float | int | None]:
    """:func:`short` of each."""
    return [short(float(value)) for value in values]


def compact(values: Sequence[T]) -> Any:
    """The value itself where all are the same, null included; else the list."""
    return values[0] if values and all(value == values[0] for value in values) else list(values)
