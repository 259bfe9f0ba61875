"""What a preflight check reports."""

from dataclasses import dataclass
from enum import StrEnum

from tr_grpo.trainer.preflight.codes import TITLES, anchor


class Severity(StrEnum):
    """An error stops the run before Ray starts; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        code: stable, e.g. ``TR201``; the hundreds name the part: 1 versions, 2 data, 3 reward, 4 batch and loss,
            5 machine, 6 model, 7 search.
        severity: see :class:`Severity`.
        message: one line that names the key, file or row.
        fix: one line that says what to change.
    """

    code: str
    severity: Severity
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.message} -> {self.fix}"

    @property
    def title(self) -> str:
        """A few words that are the same for each finding of this code."""
        return TITLES[self.code]

    @property
    def docs(self) -> str:
        """The section of the documentation about this code."""
        return anchor(self.code)


def one_line(problem: object) -> str:
    """An exception's text, or a program's, on one line."""
    return " ".join(str(problem).split())


def error(code: str, message: str, fix: str) -> Finding:
    """A finding that stops the run."""
    return Finding(code, Severity.ERROR, " ".join(message.splitlines()), fix)


def warning(code: str, message: str, fix: str) -> Finding:
    """A finding that does not stop the run but probably should be acted on."""
    return Finding(code, Severity.WARNING, " ".join(message.splitlines()), fix)
