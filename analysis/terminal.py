"""Text for a terminal: strangers' characters made harmless, and curves in one line."""

import unicodedata
from collections.abc import Sequence
from math import isfinite

BLOCKS = "▁▂▃▄▅▆▇█"
# Control (C0, DEL, C1), format (bidirectional overrides, zero width), surrogates, private use, unassigned; line and
# paragraph separators.
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""``text`` with each character that could steer a terminal written out, as ``\x1b``; line feeds stay.

    A model's output, and a run that somebody else made, are not to be trusted: an escape sequence can hide text, set
    the title or write to the clipboard.
    """
    return "".join(character if character == "\n" or _safe(character) else _escaped(character) for character in text)


def _safe(character: str) -> bool:
    return unicodedata.category(character) not in UNSAFE


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve in at most ``width`` characters, from its least value to its largest.

    More values than characters are averaged in equal parts; one that is not finite is a gap; a flat curve is low.
    """
    parts = min(width, len(values))
    means = [_mean(values[i * len(values) // parts : (i + 1) * len(values) // parts]) for i in range(parts)]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return " " * parts
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low and isfinite(high - low) else 0.0
    return "".join(" " if mean is None else BLOCKS[round((mean - low) * scale)] for mean in means)


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if isfinite(value)]
    # Divided first: a sum of large values may overflow.
    return sum(value / len(finite) for value in finite) if finite else None
