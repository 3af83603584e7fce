"""The tables that the agreement of difficulty estimators ends with in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dast_jax.estimators.agreement import LevelDiversity, PairAgreement
from dast_jax.records import LEVELS
from dast_jax.reporting.numbers import percent
from dast_jax.reporting.terminal import make_console, make_table, plain, print_tables
from dast_jax.store.comparison_results import Agreement

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_agreement"]


def print_agreement(result: Agreement, *, console: Console | None = None) -> None:
    """Print how any two estimators agree, and how diverse the responses are by level."""
    console = console or make_console()
    tables = [_pairs_table(result), *map(_confusion_table, result.pairs), _diversity_table(result)]
    print_tables(tables, console)
    share = plain(percent(result.correct))
    console.print(
        f"{result.queries} queries, {result.trials} trials each, {share} of them correct", highlight=False
    )


def _pairs_table(result: Agreement) -> Table:
    columns = ("estimators", "queries", "Spearman", "Kendall", "same level")
    table = make_table("Agreement of estimators", *columns)
    for pair in result.pairs:
        correlations = _number(pair.spearman), _number(pair.kendall)
        table.add_row(f"{pair.a} / {pair.b}", str(pair.n), *correlations, plain(percent(pair.same_level)))
    return table


def _confusion_table(pair: PairAgreement) -> Table:
    table = make_table(f"Levels by {pair.a} (rows) and {pair.b} (columns)", "", *LEVELS)
    for name, row in zip(LEVELS, pair.confusion, strict=True):
        table.add_row(name, *map(str, row))
    return table


def _diversity_table(result: Agreement) -> Table:
    title = f"Diversity of the responses to one query, by level of {result.diversity.levels_by}"
    shares = ("all", "n=1", "n=2", "n=3", "n=4")
    table = make_table(
        f"{title}: shares of distinct responses and n-grams; self-BLEU",
        *("level", "queries", *shares, "BLEU", "tokens"),
    )
    for level, found in result.diversity.by_level.items():
        table.add_row(level, str(found.queries), *_diversity(found))
    return table


def _diversity(found: LevelDiversity) -> list[str]:
    ngrams = (found.distinct_1, found.distinct_2, found.distinct_3, found.distinct_4)
    shares = [_number(value) for value in (found.distinct, *ngrams, found.self_bleu)]
    return [*shares, _number(found.length, 1)]


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
