"""One pass over a source's records: what is kept, what is left out and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math.faults import Fault
from tr_grpo.data_prep.math.files import Record
from tr_grpo.data_prep.math.inputs import Input
from tr_grpo.data_prep.math.writing import Listing
from tr_grpo.data_prep.search_qa.questions import Question, read_question

if TYPE_CHECKING:
    from tr_grpo.data_prep.search_qa.dataset import SearchQAConfig

TICK = 500  # rows between two calls of ``progress``
COUNTS = (
    *("read", "bad", "duplicate", "contradiction", "in_evaluation", "kept_duplicate", "kept_contradiction"),
    *("blank_answers", "kept"),
)
Progress = Callable[[int], None]


class Making:
    """Reads splits, and counts and lists what it leaves out."""

    def __init__(self, config: SearchQAConfig, dropped: Listing, bad: Listing, progress: Progress) -> None:
        self.config = config
        self.dropped = dropped
        self.bad = bad
        self.progress = progress
        self.counts: dict[str, dict[str, Any]] = {}

    def make(self, split: str, inputs: list[Input], tested: dict[str, str]) -> list[Question]:
        """The questions of one split that are kept, in order. ``tested``: test questions by key, with their set."""
        counts: Counter[str] = Counter()
        # Test sets stay as published, so there no later row can take out an earlier one.
        questions = list(islice(self._read(inputs, counts), self.config.limit if split == "test" else None))
        if split == "train":
            questions = self._apart(questions, tested, counts)
        questions = self._without_repeats(questions, split, counts)
        if self.config.limit is not None:
            questions = questions[: self.config.limit]
        counts["kept"] = len(questions)
        if not questions:
            self._refuse(split, inputs, counts)
        rows = [part.rows for part in inputs]
        published = None if None in rows else sum(rows)  # type: ignore[arg-type]
        self.counts[split] = {"published": published} | {name: counts[name] for name in COUNTS}
        return questions

    def _read(self, inputs: list[Input], counts: Counter[str]) -> Iterator[Question]:
        columns = (self.config.question_column or "question", self.config.answer_column)
        for part in inputs:
            for record in part.records():
                counts["read"] += 1
                if counts["read"] % TICK == 0:
                    self.progress(TICK)
                try:
                    question, blank = read_question(record, columns, self.config.name)
                except Fault as fault:
                    self._bad(record, fault)
                    counts["bad"] += 1
                else:
                    counts["blank_answers"] += blank
                    yield question

    def _bad(self, record: Record, fault: Fault) -> None:
        if self.config.on_bad_row == "stop":
            advice = "correct the row, or pass --on-bad-row skip to leave such rows out"
            raise InputError(f"{record.place}: {fault}; {advice}") from fault
        place = {"file": Path(record.file).name, record.unit: record.number}
        self.bad.add({**place, "fault": str(fault), "row": record.value})

    def _apart(self, questions: list[Question], tested: dict[str, str], counts: Counter[str]) -> list[Question]:
        kept = []
        for question in questions:
            test_set = tested.get(question.key)
            if test_set is None:
                kept.append(question)
            else:
                counts["in_evaluation"] += 1
                self._list("train", "in_evaluation", question, {"evaluation": test_set})
        return kept

    def _without_repeats(self, questions: list[Question], split: str, counts: Counter[str]) -> list[Question]:
        """A training question once; none of its rows if they have no answer in common. Test sets stay as published."""
        drops = split == "train" and self.config.duplicates == "drop"
        groups: dict[str, list[Question]] = defaultdict(list)
        for question in questions:
            groups[question.key].append(question)
        left_out: set[int] = set()
        for first, *others in groups.values():
            if not others:
                continue
            reason = "duplicate" if all(map(first.agrees, others)) else "contradiction"
            for question in others if reason == "duplicate" else [first, *others]:
                name = reason if drops else f"kept_{reason}"
                counts[name] += 1
                self._list(split, name, question, {})
                left_out.add(id(question))
        return [question for question in questions if id(question) not in left_out] if drops else questions

    def _list(self, split: str, reason: str, question: Question, details: dict[str, Any]) -> None:
        file, unit, number = question.place
        place = {"file": Path(file).name, unit: number}
        entry = {"split": split, "reason": reason, **place, "question": question.text, "answers": question.answers}
        self.dropped.add(entry | details)

    def _refuse(self, split: str, inputs: list[Input], counts: Counter[str]) -> None:
        names = ", ".join(part.name for part in inputs)
        if not counts["read"]:
            raise InputError(f"{names}: no rows for {split}; is it the right file?")
        left_out = ", ".join(f"{counts[name]} {name}" for name in COUNTS if counts[name])
        raise InputError(f"{names}: no row is left for {split} ({left_out}); are these the right files and columns?")
