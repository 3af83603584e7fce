"""From a raw row to a `Query`: one small function per schema.

Each takes a row (a mapping of columns) and the options, and returns the `question`, `answer`,
`solution` and `level` it finds; what it cannot find is None or empty, and the loader says so. The columns
`id`, `level`, `steps` and `task` are understood in every schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dast_jax.data.options import DataOptions
from dast_jax.records import Query

__all__ = ["READERS", "Fields", "detect_schema", "last_boxed", "read_row"]

Row = Mapping[str, Any]


class Fields(NamedTuple):
    """What a schema finds in a row; empty or None where it is not there."""

    question: str | None
    answer: str | None
    solution: str | None = None
    level: str | None = None


def read_row(row: Row, schema: str, options: DataOptions, *, id: str, source: str) -> Query | None:
    """The row as a `Query`, or None when it has no question or no answer.

    `id` serves a row without an `id` column, `source` says where the row came from. A row with `steps`
    and no `level` takes the number of steps as its level.
    """
    fields = READERS[schema](row, options)
    if not fields.question or not fields.answer:
        return None
    steps = _text(row.get("steps"))
    return Query(
        id=_text(row.get("id")) or id,
        question=fields.question,
        answer=fields.answer,
        solution=fields.solution,
        level=fields.level or _text(row.get("level")) or (f"steps {steps}" if steps else None),
        task=_text(row.get("task")) or "math",
        source=source,
    )


def detect_schema(rows: Sequence[Row]) -> str | None:
    """The name of the schema whose columns `rows` (some first rows of a source) have, or None."""
    columns = {name for row in rows for name in row}
    if {"problem", "solution"} <= columns:
        return "math"
    if {"question", "answer"} <= columns:
        marked = any("####" in str(row.get("answer")) for row in rows)
        return "gsm8k" if marked and "solution" not in columns else "plain"
    return None


# --- schemas ----------------------------------------------------------------------------------------

_ANNOTATION = re.compile(r"<<[^<>]*>>")


def _gsm8k(row: Row, options: DataOptions) -> Fields:
    """GSM8K (arXiv 2110.14168): `answer` holds the solution, its last line is `#### ` and the answer."""
    solution = _text(row.get("answer"))
    answer = None
    if solution is not None:
        if options.strip_annotations:
            solution = _ANNOTATION.sub("", solution)
        before, marker, after = solution.rpartition("####")
        if marker:
            answer = after.strip()
            solution = solution if before.strip() else None
    return Fields(question=_text(row.get("question")), answer=answer, solution=solution)


def _math(row: Row, options: DataOptions) -> Fields:
    """MATH (arXiv 2103.03874): the answer is what the solution's last `\\boxed` holds."""
    solution = _text(row.get("solution"))
    answer = last_boxed(solution) if solution else None
    return Fields(question=_text(row.get("problem")), answer=answer, solution=solution)


def _plain(row: Row, options: DataOptions) -> Fields:
    """`question` and a bare `answer`, with `solution` where there is one."""
    return Fields(
        question=_text(row.get("question")),
        answer=_text(row.get("answer")),
        solution=_text(row.get("solution")),
    )


READERS: Mapping[str, Callable[[Row, DataOptions], Fields]] = {
    "gsm8k": _gsm8k,
    "math": _math,
    "plain": _plain,
}


# --- helpers ----------------------------------------------------------------------------------------

_BOXED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")


def last_boxed(text: str) -> str | None:
    """The content of the last `\\boxed{…}` or `\\fbox{…}` of `text`, braces matched, or of `\\boxed 5`.

    None when there is no box, or its brace is never closed.
    """
    matches = list(_BOXED.finditer(text))
    if not matches:
        return None
    start = matches[-1].end()
    if not text.startswith("{", start):
        return re.split(r"[\s$]", text[start:], maxsplit=1)[0].rstrip(".,") or None
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "{}" and text[i - 1] != "\\":
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return text[start + 1 : i].strip() or None
    return None


def _text(value: Any) -> str | None:
    """A cell as text without outer white space; None when there is none in it."""
    if (
        value is None or isinstance(value, dict | list) or value != value
    ):  # NaN is an empty CSV or Parquet cell
        return None
    return str(value).strip() or None
