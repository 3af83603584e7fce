"""Shared by the schemas: the fields they find in a row, and how cells are read."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from dast_jax.errors import UserError
from dast_jax.verifiers.marks import closing_brace

__all__ = [
    "Fields",
    "Row",
    "as_list",
    "boxed_answer",
    "boxed_answers",
    "check_text",
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
    if value is None or isinstance(value, dict | list | tuple) or value != value:  # NaN is an empty cell
        return None
    if isinstance(value, bytes):  # a binary Parquet column
        value = value.decode("utf-8", "replace")
    return str(value).strip() or None


def check_text(value: str, what: str) -> None:
    """Raise `UserError` for half of a surrogate pair, as broken JSON escapes leave: no tokenizer takes it.

    `what` begins the sentence: "data.jsonl row 3: its question".
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise UserError(
            f"{what} has {half} at character {error.start + 1}, half of a surrogate pair; repair or remove it"
        ) from None


def number(value: Any) -> str | None:
    """Return a cell as text; a whole float, or text such as `27.0`, without its `.0`.

    A float is written out, as `1e-05` would be read as a product, and an infinite one is `\\infty`.
    """
    if isinstance(value, float) and not math.isnan(value):
        if math.isinf(value):
            return r"\infty" if value > 0 else r"-\infty"
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    found = text(value)
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", found) if found else found


def nested(value: Any) -> Any:
    """Return a cell; text that holds a list or an object, as CSV has it, as that.

    The text is JSON, Python's, or NumPy's (`['a' 'b']`, which as Python would be one string).
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    for read in (json.loads, _python):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | dict):
            return found
    return value


def _python(source: str) -> Any:
    """Return the value of a Python literal, in which values side by side are items of an array."""
    values = (tokenize.STRING, tokenize.NUMBER)
    parts, last = [], None
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in values and last in values:
                parts.append(",")
            if token.type not in (tokenize.NL, tokenize.NEWLINE):
                last = token.type
                parts.append(token.string)
    except tokenize.TokenError as error:
        raise ValueError(error) from error
    return ast.literal_eval(" ".join(parts))


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


def boxed_answers(solution: str) -> list[str]:
    """Return the contents of all `\\boxed{…}` or `\\fbox{…}`, braces matched, and of `\\boxed 5`, in order.

    Left out are empty boxes, and those whose brace is never closed. A reference solution may be read this
    far; of a response only `verifiers.extract.last_boxed` counts.
    """
    found = (_box_at(solution, match.end()) for match in _BOXED.finditer(solution))
    return [content for content in found if content]


def boxed_answer(solution: str) -> str | None:
    """Return the content of the last box, as `boxed_answers` reads it; None when there is none."""
    matches = list(_BOXED.finditer(solution))
    return _box_at(solution, matches[-1].end()) if matches else None


def _box_at(solution: str, start: int) -> str | None:
    if not solution.startswith("{", start):
        return re.split(r"[\s$]", solution[start:], maxsplit=1)[0].rstrip(".,") or None
    close = closing_brace(solution, start + 1)
    return None if close is None else solution[start + 1 : close].strip() or None


def pairs(labels: Sequence[Any], texts: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return labels and texts in pairs; none at all where their numbers differ."""
    return list(zip(labels, texts, strict=True)) if len(labels) == len(texts) else []
