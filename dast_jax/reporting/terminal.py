"""Tables in the terminal: at most 80 columns wide where there is no terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dast_jax.metrics.stats import Accuracy, Interval, PairedDifference, Score
from dast_jax.reporting.numbers import percent
from dast_jax.runtime.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

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
    """Print the tables that have rows, each below its title, which may be wider than the table.

    No word is broken: a table that is too wide for that is printed in parts, its first column before each.
    """
    for table in tables:
        if table.row_count:
            title, table.title = str(table.title), None
            console.print(visible(title), style="bold", markup=False, highlight=False)
            for part in _parts(table, console):
                console.print(part)
                console.print()


def _parts(table: Table, console: Console) -> Iterator[Table]:
    """Yield the table in as many parts as its columns need to fit the width."""
    ranges = [_widths(column) for column in table.columns]
    first, rest = ranges[0], list(range(1, len(ranges)))
    while True:
        taken: list[int] = []
        for i in rest:
            if taken and first[0] + sum(ranges[j][0] + _GAP for j in [*taken, i]) > console.width:
                break
            taken.append(i)
        rest = rest[len(taken) :]
        yield _part(table, [0, *taken], ranges, console.width)
        if not rest:
            return


_GAP = 2
"""Columns of the terminal between two columns of a table."""


def _widths(column: Column) -> tuple[int, int]:
    """Return the widths of a column's longest word and of its longest line."""
    from rich.text import Text

    cells = [Text.from_markup(str(cell)).plain for cell in (column.header, *column.cells)]
    words = [word for cell in cells for word in cell.split()]
    lines = [line for cell in cells for line in cell.split("\n")]
    return max(map(len, words), default=1), max(map(len, lines), default=1)


def _part(table: Table, chosen: Sequence[int], ranges: Sequence[tuple[int, int]], width: int) -> Table:
    """Return the table of the chosen columns; where they are too wide, lines are wrapped between words."""
    columns = [table.columns[i] for i in chosen]
    least, most = ([ranges[i][end] for i in chosen] for end in (0, 1))
    spare = max(width - _GAP * (len(chosen) - 1) - sum(least), 0)
    wanted = sum(most) - sum(least)
    part = make_table("", *(["?"] * len(columns)))
    part.title = None
    for column, theirs, low, high in zip(part.columns, columns, least, most, strict=True):
        column.header, column.justify = theirs.header, theirs.justify
        column.width = high if wanted <= spare else low + spare * (high - low) // wanted
    cells = [list(column.cells) for column in columns]
    for i, row in enumerate(table.rows):
        part.add_row(*(column[i] for column in cells), style=row.style, end_section=row.end_section)
    return part


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
