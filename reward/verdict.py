"""What a scorer says about one response: a verdict, the same ten for every task, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """The outcome of judging one response; each is counted apart, so that none can hide in another.

    A task need not use all of them, but all are logged for every task, so that metric keys never change.
    """

    RIGHT = "right"
    """The format holds and the answer is the solution."""
    WRONG = "wrong"
    """The format holds and the answer, read in full, is not the solution."""
    UNPARSABLE = "unparsable"
    """The format holds, but no complete, unambiguous answer can be read."""
    MALFORMED = "malformed"
    """The response does not have the asked format; its answer is not looked at."""
    NO_ANSWER = "no_answer"
    """Nothing in the response can be taken for its answer, and the task asks for no format beyond that."""
    SEARCH_FAILED = "search_failed"
    """Not right, and a search of the trajectory failed: the fault may not be the policy's."""
    OUT_OF_TURNS = "out_of_turns"
    """No answer was given, because the turns were used up."""
    TRUNCATED = "truncated"
    """The response ran into the length limit before its format was complete or its answer was given."""
    TIMEOUT = "timeout"
    """Judging took longer than the time limit and was stopped; the answer may be right or wrong."""
    ERROR = "error"
    """Judging failed: the scorer raised, or its process died. Written with its sample to the error file."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its evidence. All fields are plain, so that they can be logged or pickled as they are."""

    verdict: Verdict
    format_ok: bool
    answer: str | None
    """What was read, in one normal form per task; None unless the verdict is right, wrong or search_failed."""
    reason: str
    """One short line naming the fault; empty for a right answer."""
    grades: Mapping[str, float] = field(default_factory=dict)
    """How right the answer is by other measures, each in [0, 1], where the task has them; empty without an answer."""
