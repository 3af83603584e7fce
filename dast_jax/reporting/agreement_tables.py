"""What the `agreement` command prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from dast_jax.records import LEVELS

__all__ = ["print_agreement"]


def print_agreement(result: Mapping[str, Any]) -> None:
    """Print the tables of a `dast_jax.agreement/1` result."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    for table in (_pairs_table(result), *map(_confusion_table, result["pairs"]), _diversity_table(result)):
        console.print(table)
        console.print()
    console.print(
        f"{result['queries']} queries, {result['trials']} trials each, "
        f"{100 * result['correct']:.1f} % of them correct",
        highlight=False,
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return table


def _pairs_table(result: Mapping[str, Any]) -> Table:
    table = _table("Agreement of estimators", "estimators", "queries", "Spearman", "Kendall", "same level")
    for pair in result["pairs"]:
        table.add_row(
            f"{pair['a']} / {pair['b']}",
            str(pair["n"]),
            _number(pair["spearman"]),
            _number(pair["kendall"]),
            f"{100 * pair['same_level']:.1f} %",
        )
    return table


def _confusion_table(pair: Mapping[str, Any]) -> Table:
    table = _table(f"Levels by {pair['a']} (rows) and {pair['b']} (columns)", "", *LEVELS)
    for name, row in zip(LEVELS, pair["confusion"], strict=True):
        table.add_row(name, *map(str, row))
    return table


def _diversity_table(result: Mapping[str, Any]) -> Table:
    names = ("distinct", "distinct_1", "distinct_2", "distinct_3", "distinct_4", "self_bleu", "length")
    diversity = result["diversity"]
    titles = ("distinct", "1-grams", "2-grams", "3-grams", "4-grams", "self-BLEU", "tokens")
    table = _table(
        f"Diversity of the responses to one query, by level of {diversity['levels_by']}",
        "level",
        "queries",
        *titles,
    )
    for level in LEVELS:
        entry = diversity[level]
        numbers = [_number(entry.get(name), 1 if name == "length" else 3) for name in names]
        table.add_row(level, str(entry["queries"]), *numbers)
    return table


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
