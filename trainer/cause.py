"""Why a run failed, in one line: Ray wraps a worker's exception, as an object or as its traceback's text."""

import re

LONGEST = 600
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RAISED = re.compile(r"[\w.]*(Error|Exception|Interrupt): ")
_PART = re.compile(r"\t(class_name|pid|ip): (.+)")


def cause_of(error: BaseException) -> str:
    """``Type: what it said``, without colours and line breaks, at most ``LONGEST`` characters.

    The death of one of Ray's actors is told with its class, process and machine, for Ray's first line names none.
    """
    while (inner := getattr(error, "cause", None) or error.__cause__) is not None:
        error = inner
    lines = [line for line in _COLOURS.sub("", str(error)).splitlines() if line.strip(" ^~")] or ["no message"]
    raised = [i for i, line in enumerate(lines) if _RAISED.match(line)]
    if raised:
        head, rest = lines[raised[-1]], lines[raised[-1] + 1 :]
    elif len(lines) > 1 and _PART.match(lines[1]):
        head, rest = f"{type(error).__name__}: {lines[0]}", lines[1:]
    else:
        head, rest = f"{type(error).__name__}: {lines[-1].strip()}", []
    matches = [match for line in rest if (match := _PART.fullmatch(line.rstrip()))]
    parts: dict[str, str] = {match[1]: match[2] for match in matches}
    if "class_name" in parts:
        who = parts["class_name"].rpartition(".")[2]
        where = ", ".join(f"{name} {parts[name]}" for name in ("pid", "ip") if name in parts)
        why = " ".join(line.strip() for line in rest if not line.startswith("\t"))
        return _short(f"{head} {who} ({where}): {why}")
    # What follows the exception's line is its detail where it is indented (pydantic).
    return _short(" ".join([head, *(line.strip() for line in rest[:1] if line.startswith("  "))]))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
