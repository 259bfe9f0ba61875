"""Where the answer stands: in the policy's own last turn, and nowhere else.

With a trajectory the turns are known. Without one they are what stands between the ``<information>`` blocks of the
response, which a passage that contains such tags can confuse: a task that searches has to pass the trajectory.
"""

import re
from dataclasses import dataclass

from tr_grpo.reward.search_qa.matching import key
from tr_grpo.reward.trajectory import Trajectory
from tr_grpo.reward.verdict import Verdict

MAX_ANSWER_CHARS = 4096
"""Longer answers are unparsable unread: none is that long, and one that lists everything would cover anything."""
FORMATS = ("search_r1", "answer")

ANSWER_TAG = re.compile(r"</?answer>")
_OPENING, _CLOSING = "<information>", "</information>"
_TAG = re.compile(r"(</?(?:think|search|information|answer)>)")
_SEARCHES = ["<think>", "</think>", "<search>", "</search>"]
_ANSWERS = ["<think>", "</think>", "<answer>", "</answer>"]


@dataclass(frozen=True, slots=True)
class Read:
    """The answer, or why there is none."""

    answer: str | None
    fault: str = ""
    verdict: Verdict = Verdict.NO_ANSWER
    blocks: int = 0
    """How many answers were given; they all say the same."""


def turns_of(response: str, trajectory: Trajectory | None) -> tuple[str, ...]:
    """The policy's turns."""
    if trajectory is not None:
        return trajectory.turns
    turns, start = [], 0
    # Not a regular expression: it would look for the closing tag anew from each opening one that has none.
    while (opening := response.find(_OPENING, start)) >= 0 and (closing := response.find(_CLOSING, opening)) >= 0:
        turns.append(response[start:opening])
        start = closing + len(_CLOSING)
    return (*turns, response[start:])


def last_words(turns: tuple[str, ...], trajectory: Trajectory | None) -> str:
    """The policy's last turn.

    Without a trajectory, a passage may have closed its block by itself, or be cut: what stands before the last
    ``</information>`` or after an open ``<information>`` is not read.
    """
    last = turns[-1] if turns else ""
    if trajectory is not None:
        return last
    return last.rpartition(_CLOSING)[2].partition(_OPENING)[0]


def read_answer(turn: str) -> Read:
    """The answer of the last turn: what stands in ``<answer>``, after ``</think>`` if there is one.

    One block is enough. (Search-R1's ``extract_solution`` asks for two, since it reads the prompt too, whose example
    is the first; given the response alone, a right answer would score 0.) Several blocks count if they all say the
    same; otherwise the policy hedges, and the answer is unparsable.
    """
    turn = turn.rpartition("</think>")[2]
    tags = list(ANSWER_TAG.finditer(turn))
    if not tags:
        return Read(None, "there is no <answer>")
    if [tag.group() for tag in tags] != ["<answer>", "</answer>"] * (len(tags) // 2):
        return Read(None, "<answer> and </answer> do not pair up", Verdict.MALFORMED)
    answers = [turn[start.end() : end.start()].strip() for start, end in zip(tags[::2], tags[1::2], strict=True)]
    answer = answers[-1]
    if max(map(len, answers)) > MAX_ANSWER_CHARS:
        return Read(None, f"the answer is longer than {MAX_ANSWER_CHARS} characters", Verdict.UNPARSABLE)
    if not answer:
        return Read(None, "the answer is empty", Verdict.UNPARSABLE)
    if len(set(map(key, answers))) > 1:
        return Read(None, f"{len(answers)} answers that differ", Verdict.UNPARSABLE)
    return Read(answer, blocks=len(answers))


def keeps_format(turns: tuple[str, ...], invalid: int, read: Read, format: str) -> bool:
    """Whether the response has the asked format.

    ``search_r1``: each turn is ``<think>…</think>`` and then ``<search>…</search>``, the last ``<answer>…</answer>``,
    with nothing but white space around (``is_valid_sequence`` in Search-R1's ``qa_em_format.py``). ``answer``: one
    answer block. In both, no turn was invalid.
    """
    if invalid or read.blocks != 1:
        return False
    if format == "answer":
        return True
    return all(_is(turn, _SEARCHES) for turn in turns[:-1]) and _is(turns[-1], _ANSWERS)


def _is(turn: str, tags: list[str]) -> bool:
    """Whether a turn is these four tags in this order, with text only inside them."""
    parts = _TAG.split(turn)
    return parts[1::2] == tags and not any(part.strip() for part in parts[::4])
