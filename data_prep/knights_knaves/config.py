"""What kind of puzzle to make, checked when the config is made."""

from __future__ import annotations

from dataclasses import dataclass

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves.logic import MAX_PEOPLE, MIN_PEOPLE

KINDS = ("is", "not", "and", "or", "if", "iff")
BINARY_KINDS = ("and", "or", "if", "iff")
PHRASINGS = ("varied", "plain")
STYLES = ("logic_rl", "short")
MAX_DEPTH = 4

# fmt: off
NAMES = (
    "Abigail", "Aiden", "Alexander", "Amelia", "Aria", "Asher", "Aurora", "Ava", "Benjamin", "Caleb", "Camila",
    "Charlotte", "Chloe", "Clara", "Daniel", "David", "Eleanor", "Elena", "Elias", "Elijah", "Elizabeth", "Ella",
    "Emily", "Emma", "Ethan", "Evelyn", "Ezra", "Felix", "Grace", "Hannah", "Harper", "Hazel", "Henry", "Isaac",
    "Isabella", "Jack", "Jackson", "Jacob", "James", "Joseph", "Leah", "Levi", "Liam", "Lily", "Logan", "Lucas",
    "Luke", "Luna", "Mason", "Mateo", "Matthew", "Maya", "Mia", "Michael", "Naomi", "Nora", "Noah", "Oliver",
    "Olivia", "Owen", "Penelope", "Riley", "Ruby", "Samuel", "Scarlett", "Sebastian", "Sofia", "Theo", "Victoria",
    "Violet", "William", "Zoey",
)
# fmt: on


@dataclass(frozen=True)
class GenerationConfig:
    """One kind of puzzle.

    ``depth`` is the deepest nesting of connectives a claim may have: 1 is one connective over "X is a knight".
    ``kinds`` are the forms a claim may take, drawn with equal chance at each level. "is" and "not" alone, or
    depth 0, are refused: turning every knight into a knave and back keeps all such claims fitting, so no such
    puzzle has exactly one solution.
    """

    people: int = 3  # 2 to 8
    depth: int = 1  # 1 to 4
    kinds: tuple[str, ...] = KINDS
    names: tuple[str, ...] = NAMES  # the alphabet that names are drawn from, without repetition
    phrasing: str = "varied"  # or "plain": every claim reads "X says that ..."
    style: str = "logic_rl"  # or "short": claims and question only, no system message

    def __post_init__(self) -> None:
        if not MIN_PEOPLE <= self.people <= MAX_PEOPLE:
            raise InputError(f"people: {self.people} is outside {MIN_PEOPLE} to {MAX_PEOPLE}")
        if not 1 <= self.depth <= MAX_DEPTH:
            raise InputError(f"depth: {self.depth} is outside 1 to {MAX_DEPTH} (0 never has one solution)")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise InputError(f"kinds: unknown {', '.join(unknown)}; choose from {', '.join(KINDS)}")
        if not set(self.kinds) & set(BINARY_KINDS):
            raise InputError(f"kinds: no puzzle has one solution without one of {', '.join(BINARY_KINDS)}")
        if len(set(self.names)) != len(self.names):
            raise InputError("names: a name stands twice; give distinct names")
        if any(not name.isalpha() for name in self.names):
            bad = next(name for name in self.names if not name.isalpha())
            raise InputError(f"names: {bad!r} is not one word of letters")
        if len(self.names) < self.people:
            raise InputError(f"names: {len(self.names)} names for {self.people} people; give more names")
        if self.phrasing not in PHRASINGS:
            raise InputError(f"phrasing: {self.phrasing!r} is not one of {', '.join(PHRASINGS)}")
        if self.style not in STYLES:
            raise InputError(f"style: {self.style!r} is not one of {', '.join(STYLES)}")
