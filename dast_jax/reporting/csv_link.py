"""A chart's numbers as a CSV file within the page: a link that needs no script and no network."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from urllib.parse import quote

from dast_jax.reporting.markup import Html, text
from dast_jax.runtime.visible import visible

__all__ = ["csv_link", "csv_text"]

_FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet would read a cell that begins with it as."""


def csv_text(rows: Sequence[Sequence[object]]) -> str:
    """Return the rows as CSV; empty cells for None, text that would be a formula behind an apostrophe."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[_cell(cell) for cell in row] for row in rows])
    return out.getvalue()


def csv_link(name: str, rows: Sequence[Sequence[object]]) -> Html:
    """Return a link that saves the rows under the name; empty where there are none."""
    if len(rows) < 2:
        return Html("")
    file = re.sub(r"[^\w.-]+", "_", name).strip("_") or "numbers"
    address = f"data:text/csv;charset=utf-8,{quote(csv_text(rows))}"
    return Html(f'<p class="csv"><a download="{text(file)}.csv" href="{address}">Save as CSV</a></p>')


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    shown = visible(value).replace("\u202f", " ")
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
