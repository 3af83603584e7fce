"""Rows as they were read, before any schema, and how messages refer to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Table", "one_line", "rows_have"]


class Table(NamedTuple):
    """The rows of a source with their numbers (the line in a JSONL file, else from 1).

    `classes` names the values 0, 1, … of columns that hold class numbers, where the source says them.
    """

    name: str
    rows: Sequence[tuple[int, Mapping[str, Any]]]
    classes: Mapping[str, Sequence[str]] = {}

    @property
    def columns(self) -> list[str]:
        """The names of all columns, sorted."""
        return sorted({str(column) for _, row in self.rows for column in row})


def rows_have(numbers: Sequence[int]) -> str:
    """Return the beginning of a sentence about rows: "row 3 has", "rows 3, 4, 5, 6, 7 and 2 more have"."""
    shown = ", ".join(map(str, numbers[:5]))
    if len(numbers) == 1:
        return f"row {shown} has"
    more = f" and {len(numbers) - 5:,} more" if len(numbers) > 5 else ""
    return f"rows {shown}{more} have"


def one_line(error: BaseException) -> str:
    """Return an error's message as one line of at most 160 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
