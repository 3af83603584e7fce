"""The tables that a study ends with in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dast_jax.records import LEVELS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_comparison"]

_WIDTH = 110
"""Columns where there is no terminal to ask."""

Comparison = Mapping[str, Any]


def print_comparison(comparison: Comparison, *, console: Console | None = None) -> None:
    """Print what `comparison.json` says: accuracy and work, differences, levels, shares, what is missing."""
    from rich.console import Console

    console = console or Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH, file=console.file)
    tables = [_accuracy_table(comparison), _work_table(comparison)]
    tables += [
        _difference_table(comparison, s, key)
        for s in comparison["sets"]
        for key in ("differences", "matched")
    ]
    tables += [_level_table(comparison, s) for s in comparison["sets"]]
    tables.append(_shares_table(comparison))
    for table in tables:
        if table.row_count:
            title, table.title = (
                str(table.title),
                None,
            )  # above the table, where it is not folded to its width
            console.print(title, style="bold", markup=False, highlight=False)
            console.print(table)
    for lack in comparison["missing"]:
        line = f"missing: {lack['label']}, seed {lack['seed']}: {lack['why']}"
        console.print(line, style="yellow", markup=False, highlight=False)


def _accuracy_table(comparison: Comparison) -> Table:
    sets, seeds = comparison["sets"], len(comparison["seeds"])
    what = (
        f"mean of {seeds} seeds, 95 % t interval over seeds" if seeds > 1 else "95 % interval over questions"
    )
    table = _table(f"Accuracy after the last round, {what}", "entry", "seeds", *sets)
    table.add_row("base", str(seeds), *(_accuracy(comparison["base"][s]) for s in sets))
    for label, entry in comparison["entries"].items():
        last = _last(entry)
        cells = [_accuracy(last["evaluation"].get(s)) if last else "–" for s in sets]
        table.add_row(label, str(len(entry["seeds"])), *cells)
    return table


def _work_table(comparison: Comparison) -> Table:
    """What each entry took in all, and to reach the strongest baseline's best."""
    sets = [s for s in comparison["sets"] if s in comparison["targets"]]
    targets = comparison["targets"]
    heads = [f"to {100 * targets[s]['accuracy']:.1f} % of {s} ({targets[s]['baseline']})" for s in sets]
    table = _table(
        "Work: sampling and training, useful FLOPs (padded), without evaluation",
        "entry",
        "trained tokens",
        "sampled tokens",
        "in all",
        *heads,
        "seconds",
    )
    for label, entry in comparison["entries"].items():
        last = _last(entry)
        if last is None:
            continue
        work = last["cumulative"]
        reached = [comparison["to_target"][s][label] for s in sets]
        table.add_row(
            label,
            _number(work["trained_tokens"]),
            _number(work["sampled_tokens"]),
            _flops(work),
            *(f"{_flops(r)}, round {r['round']}" if r else "not reached" for r in reached),
            f"{entry['seconds']:.0f}",
        )
    return table


def _difference_table(comparison: Comparison, name: str, key: str) -> Table:
    """Entries down, baselines across."""
    when = "after the last round" if key == "differences" else "at matched training tokens"
    baselines = comparison["baselines"]
    table = _table(
        f"{name}: points over each baseline {when}, 95 % over seeds and questions",
        "entry",
        *(f"− {baseline}" for baseline in baselines),
    )
    for label in comparison["entries"]:
        found = [comparison[key].get(b, {}).get(label, {}).get(name) for b in baselines]
        if any(found):
            table.add_row(label, *(_difference(d, matched=key == "matched") for d in found))
    return table


def _level_table(comparison: Comparison, name: str) -> Table:
    base = comparison["base"][name]["by_level"]
    levels = list(base)
    table = _table(f"{name}: accuracy by level after the last round", "entry", *levels)
    if levels:
        table.add_row("base", *(_percent(base[level]) for level in levels))
    for label, entry in comparison["entries"].items():
        by_level = ((_last(entry) or {}).get("evaluation") or {}).get(name, {}).get("by_level") or {}
        if levels and by_level:
            table.add_row(label, *(_percent(by_level.get(level)) for level in levels))
    return table


def _shares_table(comparison: Comparison) -> Table:
    table = _table("Level shares of the last round's training data, before → after, %", "entry", *LEVELS)
    for label, entry in comparison["entries"].items():
        shares = (_last(entry) or {}).get("level_shares")
        if shares:
            before, after = shares["before"], shares["after"]
            cells = [f"{100 * (before.get(v) or 0):.1f} → {100 * (after.get(v) or 0):.1f}" for v in LEVELS]
            table.add_row(label, *cells)
    return table


# --- cells --------------------------------------------------------------------------------------------


def _last(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return entry["rounds"][-1] if entry["rounds"] else None


def _accuracy(cell: Mapping[str, Any] | None) -> str:
    if not cell or cell["accuracy"] is None:
        return "–"
    interval = cell["interval"] or cell["interval_questions"]
    bounds = f" \\[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * cell['accuracy']:.1f}{bounds}"


def _percent(cell: Mapping[str, Any] | None) -> str:
    return "–" if not cell or cell["accuracy"] is None else f"{100 * cell['accuracy']:.1f}"


def _difference(found: Mapping[str, Any] | None, *, matched: bool) -> str:
    if not found:
        return "–"
    low, high = found["interval"]
    style = "green" if low > 0 else "red" if high < 0 else "none"
    cell = f"{100 * found['difference']:+.1f} \\[{100 * low:+.1f}, {100 * high:+.1f}]"
    if matched:
        mine, theirs = (_number(tokens) for tokens in found["trained_tokens"])
        cell += f" {mine}:{theirs}"
    return cell if style == "none" else f"[{style}]{cell}[/{style}]"


def _flops(work: Mapping[str, Any]) -> str:
    return f"{_number(work['flops']['useful'])} ({_number(work['flops']['padded'])})"


def _number(value: float) -> str:
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _table(title: str, first: str, *columns: str) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(escape(str(column)), justify="right", overflow="fold")
    return table
