"""Tables in the terminal: at most 80 columns wide where there is no terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from dast_jax.metrics.stats import Accuracy, Interval, PairedDifference, Score
from dast_jax.reporting.numbers import percent
from dast_jax.runtime.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["WIDTH", "accuracy", "count", "difference", "make_console", "make_table", "plain", "print_tables"]

WIDTH = 80
"""Columns where there is no terminal to ask (a pipe, a CI log)."""


def make_console() -> Console:
    """Return a console on standard output."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def make_table(title: str, *columns: str, left: Collection[str] = ()) -> Table:
    """Return an empty table; the first column and those named in `left` are flush left, the others right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        to_left = i == 0 or column in left
        table.add_column(plain(column), justify="left" if to_left else "right", overflow="fold")
    return table


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """Print the tables that have rows, each below its title, which may be wider than the table."""
    for table in tables:
        if table.row_count:
            title, table.title = str(table.title), None
            console.print(visible(title), style="bold", markup=False, highlight=False)
            console.print(table)
            console.print()


def plain(text: object) -> str:
    """Return `text` with nothing in it that rich would read as markup; what a terminal would obey is escaped.

    Narrow no-break spaces, which keep numbers whole on a page, become spaces.
    """
    from rich.markup import escape

    return escape(visible(text).replace("\u202f", " "))


# --- cells --------------------------------------------------------------------------------------------


def accuracy(found: Accuracy | Score | None) -> str:
    """Return "55.0 % [50.6, 59.3]" as a cell."""
    return "–" if found is None else f"{plain(percent(found.accuracy))} {_bounds(found.interval, '.1f')}"


def difference(found: PairedDifference | None) -> str:
    """Return "+8.8 [+5.0, +12.4]" in points as a cell, green or red where the interval leaves zero out."""
    if found is None:
        return "–"
    low, high = found.interval
    cell = f"{100 * found.difference:+.1f} {_bounds(found.interval, '+.1f')}"
    color = "green" if low > 0 else "red" if high < 0 else None
    return f"[{color}]{cell}[/{color}]" if color else cell


def _bounds(interval: Interval, form: str) -> str:
    low, high = interval
    return plain(f"[{100 * low:{form}}, {100 * high:{form}}]")


def count(value: int | None) -> str:
    """Return "12,345" as a cell."""
    return "–" if value is None else f"{value:,}"
