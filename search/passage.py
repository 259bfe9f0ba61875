"""A passage and a hit: what an index holds, what a server sends and what the policy reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Passage:
    """One document of the corpus; ``title`` may be empty."""

    id: str
    title: str
    text: str

    @property
    def contents(self) -> str:
        """Title and text in one string, as Search-R1's corpora and server write it: ``"Title"`` newline text."""
        return f'"{self.title}"\n{self.text}' if self.title else self.text

    @classmethod
    def of_contents(cls, id: str, contents: str) -> Passage:
        """The passage that ``contents`` writes; a first line in double quotes is the title, else there is none."""
        first, newline, text = contents.partition("\n")
        if newline and len(first) > 2 and first[0] == first[-1] == '"':
            return cls(id, first[1:-1], text)
        return cls(id, "", contents)

    def wire(self) -> dict[str, Any]:
        """The document as ``/retrieve`` sends it (Search-R1's ``retrieval_server.py``)."""
        return {"id": self.id, "contents": self.contents}

    @classmethod
    def of_wire(cls, document: Any) -> Passage:
        """The passage of a document of ``/retrieve``; ValueError if it has no text.

        Understands ``contents`` (Search-R1), and ``title`` with ``text`` (FlashRAG's layout).
        """
        if not isinstance(document, dict):
            raise ValueError(f"a document must be an object, not {type(document).__name__}")
        id, contents, text = str(document.get("id", "")), document.get("contents"), document.get("text")
        if isinstance(contents, str):
            return cls.of_contents(id, contents)
        if isinstance(text, str):
            return cls(id, str(document.get("title") or ""), text)
        raise ValueError("a document has neither `contents` nor `text`")


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage; scores of one query fall from hit to hit, and only compare within one retriever."""

    passage: Passage
    score: float
