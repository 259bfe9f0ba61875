"""From a source's record to a question with its answers, and from a question to a row of verl's schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tr_grpo.data_prep.math.faults import Fault
from tr_grpo.data_prep.math.files import Record
from tr_grpo.data_prep.math.problems import user_message
from tr_grpo.data_prep.schema import Row, arrow_schema
from tr_grpo.data_prep.search_qa.templates import Template
from tr_grpo.reward.search_qa import parse_solution
from tr_grpo.reward.search_qa.matching import key

if TYPE_CHECKING:
    import pyarrow as pa

ANSWER_COLUMNS = ("golden_answers", "answer", "reward_model")
"""FlashRAG's layout, nq_open's, and verl's; the first that a row has."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and all spellings of its answer."""

    text: str
    answers: tuple[str, ...]
    data_source: str
    source_id: str
    place: tuple[str, str, int]
    """File or set, ``line`` or ``row``, and its number."""

    @property
    def key(self) -> str:
        """Equal for questions that differ in case, ASCII punctuation, articles and white space alone."""
        return key(self.text)

    def agrees(self, other: Question) -> bool:
        """Whether the two have an answer in common."""
        return not set(map(key, self.answers)).isdisjoint(map(key, other.answers))


def read_question(record: Record, columns: tuple[str, str], data_source: str) -> tuple[Question, int]:
    """The question of a record, and how many blank answers were left out.

    ``columns`` name question and answers; an empty second takes the first of ``ANSWER_COLUMNS`` that the row has.
    An empty ``data_source`` takes the row's own. Raises ``Fault`` where something is missing or of the wrong type.
    """
    row = record.value
    if record.fault:
        raise Fault(record.fault)
    if not isinstance(row, Mapping):
        raise Fault(f"of type {type(row).__name__}, not an object with columns")
    column, answer_column = columns
    text = _text(_column(row, column), column)
    answer_column = answer_column or next((name for name in ANSWER_COLUMNS if name in row), " or ".join(ANSWER_COLUMNS))
    answers, blank = _answers(_column(row, answer_column), answer_column)
    source = data_source or _text(_column(row, "data_source"), "data_source")
    source_id = row.get("id")
    return Question(
        text,
        answers,
        source,
        str(record.number) if source_id is None else _text(str(source_id), "id"),
        (record.file, record.unit, record.number),
    ), blank


def question_of(row: Mapping[str, Any]) -> str:
    """The question in a row of a prepared file.

    ``extra_info.question`` (ours, and verl's preparation), the column ``question`` (Search-R1's own file), or what
    follows ``Question:`` in the one user message, which otherwise is the question. Raises ``Fault`` without any.
    """
    for place in (row.get("extra_info"), row):
        if isinstance(place, Mapping) and isinstance(place.get("question"), str) and place["question"].strip():
            return str(place["question"]).strip()
    return user_message(row.get("prompt")).rpartition("Question:")[2].strip()


def schema() -> pa.Schema:
    """Schema of every file of questions, whatever its source."""
    import pyarrow as pa

    text = pa.string()
    return arrow_schema(
        [("question", text), ("source", text), ("source_id", text)],
        ground_truth=pa.struct([("target", pa.list_(text))]),
        columns=[("agent_name", text)],
    )


def to_row(question: Question, template: Template, source: str, split: str, index: int) -> Row:
    """One row of verl's schema."""
    return {
        "data_source": question.data_source,
        "prompt": template.messages(question.text),
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": list(question.answers)}},
        "extra_info": {
            "index": index,
            "split": split,
            "question": question.text,
            "source": source,
            "source_id": question.source_id,
        },
        "agent_name": template.agent,
    }


def _column(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise Fault(f"no column {name}; there are {', '.join(map(str, row))[:200]}")
    return row[name]


def _text(value: object, column: str) -> str:
    if not isinstance(value, str):
        raise Fault(f"{column} is of type {type(value).__name__}, not text")
    text = value.strip()
    if not text:
        raise Fault(f"{column} is empty")
    if "\0" in text:
        raise Fault(f"{column} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Fault(f"{column} holds half a surrogate pair, which UTF-8 cannot write") from error
    return text


def _answers(value: object, column: str) -> tuple[tuple[str, ...], int]:
    """The answers, each once, and how many were blank."""
    if isinstance(value, Mapping) and "ground_truth" in value:  # reward_model of verl's schema
        value = value["ground_truth"]
    if isinstance(value, Mapping):
        value = value.get("target")
    given = value if isinstance(value, list | tuple) else [value]
    # A year may have become a number; nothing else is text by accident.
    texts = [str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in given]
    blank = sum(isinstance(item, str) and not item.strip() for item in texts)
    if blank == len(texts):
        raise Fault(f"{column} holds no answer")
    answers = [_text(item, column) for item in texts if not (isinstance(item, str) and not item.strip())]
    try:
        return parse_solution(answers).aliases, blank
    except ValueError as error:
        raise Fault(f"{column}: the scorer tr_grpo.reward.search_qa refuses it: {error}") from error
