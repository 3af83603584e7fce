"""Shared by the schemas: the fields they find in a row, and how cells are read."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dast_jax.verifiers.marks import closing_brace

__all__ = [
    "Fields",
    "Row",
    "as_list",
    "boxed_answer",
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
    """Return a cell as text without outer white space; None when it is empty."""
    if (
        value is None or isinstance(value, dict | list) or value != value
    ):  # NaN is an empty CSV or Parquet cell
        return None
    return str(value).strip() or None


def number(value: Any) -> str | None:
    """Return a cell as text; a whole float, or text such as `27.0`, without its `.0`."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    found = text(value)
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", found) if found else found


def nested(value: Any) -> Any:
    """Return a cell; text that holds a list or an object, in JSON or Python syntax as in CSV, as that."""
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
    """Return the values of a cell that may hold one or several."""
    if isinstance(value, list | tuple):
        return list(value)
    return [] if text(value) is None else [value]


def tags(row: Row, *names: str) -> tuple[str, ...]:
    """Return the distinct texts in the columns `names`, each of which may hold a list."""
    found = (text(value) for name in names for value in as_list(row.get(name)))
    return tuple(dict.fromkeys(tag for tag in found if tag))


def with_choices(question: str | None, choices: Iterable[tuple[Any, Any]]) -> str | None:
    """Return the question followed by its choices (label, text), one per line."""
    lines = [f"{text(label) or ''}) {text(content) or ''}".rstrip() for label, content in choices]
    return "\n".join([question, *lines]) if question and lines else None


def with_answer(solution: str | None, answer: str | None) -> str | None:
    """Return the solution with its answer in a line after it."""
    return f"{solution}\nThe answer is {answer}." if solution and answer else None


_BOXED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")


def boxed_answer(solution: str) -> str | None:
    """Return the content of the last `\\boxed{…}` or `\\fbox{…}`, braces matched, or of `\\boxed 5`.

    None when there is no box, or its brace is never closed. A reference solution may be read this far;
    of a response only `verifiers.extract.last_boxed` counts.
    """
    matches = list(_BOXED.finditer(solution))
    if not matches:
        return None
    start = matches[-1].end()
    if not solution.startswith("{", start):
        return re.split(r"[\s$]", solution[start:], maxsplit=1)[0].rstrip(".,") or None
    close = closing_brace(solution, start + 1)
    return None if close is None else solution[start + 1 : close].strip() or None


def pairs(labels: Sequence[Any], texts: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return labels and texts in pairs; none at all where their numbers differ."""
    return list(zip(labels, texts, strict=True)) if len(labels) == len(texts) else []
