"""What the schemas share: the fields they find in a row, and how cells are read."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "Fields",
    "Row",
    "as_list",
    "last_boxed",
    "nested",
    "number",
    "pairs",
    "tags",
    "text",
    "with_answer",
    "with_choices",
]

Row = Mapping[str, Any]


class Fields(NamedTuple):
    """What a schema finds in a row; empty or None where it is not there.

    `task` is the task family (`verifiers.families`); `tags` are subjects or types of the problem.
    """

    question: str | None
    answer: str | None
    solution: str | None = None
    level: str | None = None
    task: str = "math"
    tags: tuple[str, ...] = ()


def text(value: Any) -> str | None:
    """A cell as text without outer white space; None when there is none in it."""
    if (
        value is None or isinstance(value, dict | list) or value != value
    ):  # NaN is an empty CSV or Parquet cell
        return None
    return str(value).strip() or None


def number(value: Any) -> str | None:
    """A cell as text, whole floats, and texts such as `27.0`, without their `.0`."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    found = text(value)
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", found) if found else found


def nested(value: Any) -> Any:
    """A cell; text that is a list or an object as JSON or Python writes it (CSV has no other way) as that."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | dict):
            return found
    return value


def as_list(value: Any) -> list[Any]:
    """A cell that may hold one value or several."""
    if isinstance(value, list | tuple):
        return list(value)
    return [] if text(value) is None else [value]


def tags(row: Row, *names: str) -> tuple[str, ...]:
    """The distinct texts in the columns `names`, each of which may hold a list."""
    found = (text(value) for name in names for value in as_list(row.get(name)))
    return tuple(dict.fromkeys(tag for tag in found if tag))


def with_choices(question: str | None, choices: Iterable[tuple[Any, Any]]) -> str | None:
    """The question with its choices, (label, text) each, one a line behind it."""
    lines = [f"{text(label) or ''}) {text(content) or ''}".rstrip() for label, content in choices]
    return "\n".join([question, *lines]) if question and lines else None


def with_answer(solution: str | None, answer: str | None) -> str | None:
    """A solution that does not say its answer, with a last line that does."""
    return f"{solution}\nThe answer is {answer}." if solution and answer else None


_BOXED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")


def last_boxed(solution: str) -> str | None:
    """The content of the last `\\boxed{…}` or `\\fbox{…}`, braces matched, or of `\\boxed 5`.

    None when there is no box, or its brace is never closed.
    """
    matches = list(_BOXED.finditer(solution))
    if not matches:
        return None
    start = matches[-1].end()
    if not solution.startswith("{", start):
        return re.split(r"[\s$]", solution[start:], maxsplit=1)[0].rstrip(".,") or None
    depth = 0
    for i in range(start, len(solution)):
        if solution[i] in "{}" and solution[i - 1] != "\\":
            depth += 1 if solution[i] == "{" else -1
            if depth == 0:
                return solution[start + 1 : i].strip() or None
    return None


def pairs(labels: Sequence[Any], texts: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Labels and texts side by side; none at all where their numbers differ."""
    return list(zip(labels, texts, strict=True)) if len(labels) == len(texts) else []
