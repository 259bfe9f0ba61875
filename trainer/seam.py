"""Replacing a function of another package, once a process, in a way that can be checked."""

from collections.abc import Callable
from functools import wraps
from typing import Any

_MARK = "_replaced_by_tr_grpo"


def replace(owner: Any, name: str, wrapper_of: Callable[[Callable], Callable]) -> None:
    """Set ``owner.name`` to ``wrapper_of(original)`` unless that was done before.

    Raises:
        AttributeError: ``owner`` has no such attribute: upstream changed, and the part must be revised.
    """
    original = getattr(owner, name)
    if is_replaced(owner, name):
        return
    wrapper = wraps(original)(wrapper_of(original))
    setattr(wrapper, _MARK, True)
    setattr(owner, name, wrapper)


def is_replaced(owner: Any, name: str) -> bool:
    """True if :func:`replace` has been here."""
    return getattr(getattr(owner, name), _MARK, False)
