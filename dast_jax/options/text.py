"""The text of messages about options: the nearest known name, values as shown to users, dotted keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["join_key", "listed", "nearest", "shown"]


def nearest(name: str, known: Iterable[str], where: str = "") -> str:
    """Return the tail of a message about an unknown name: the nearest known one, or else all of them."""
    names = [str(k) for k in known]
    longer = [k for k in names if len(name) > 2 and k.startswith(name)]
    if len(longer) > 1 and len(longer) < 5:  # the first word of several
        return f"; did you mean {' or '.join(join_key(where, k) for k in longer)}?"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        close = [k for k in names if name and (k.startswith(name) or name in k.split("_"))][:1]
    if close:
        return f"; did you mean {join_key(where, close[0])}?"
    return f"; known are {', '.join(names)}" if names else ""


def shown(value: Any) -> str:
    """Return a value as it is shown in messages, at most 80 characters."""
    text = "null" if value is None else repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 80 else text[:77] + "…"


def listed(values: Iterable[Any]) -> str:
    """Return the values, separated by commas."""
    return ", ".join(str(v) for v in values)


def join_key(where: str, name: str) -> str:
    """Return the dotted key of `name` in the section `where` (empty at the top)."""
    return f"{where}.{name}" if where else name
