"""The tables that a study prints in the terminal: its gates at the beginning, the comparison at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dast_jax.metrics.flops import Flops
from dast_jax.records import LEVELS
from dast_jax.reporting.findings import TIED, cut_points, findings
from dast_jax.reporting.numbers import number, percent, tokens
from dast_jax.reporting.terminal import difference, make_console, make_table, plain, print_tables
from dast_jax.runtime.visible import visible
from dast_jax.store.comparison_results import (
    Comparison,
    Gates,
    MatchedDifference,
    Reached,
    SeedAccuracy,
    SeedDifference,
    SetAccuracy,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_comparison", "print_gates"]

_COLUMNS_PER_TABLE = 3
"""How many columns with intervals fit next to each other."""

_SETS_PER_TABLE = 2
"""How many accuracies with intervals, each with the mean length of the responses, fit next to each other."""


def print_comparison(comparison: Comparison, *, console: Console | None = None) -> None:
    """Print accuracy and work, differences, levels, shares, and what is missing."""
    console = console or make_console()
    print_tables(_tables(comparison), console)
    for finding in findings(comparison):
        console.print(visible(finding).replace("\u202f", " "), markup=False, highlight=False)
    for note in (cut_points(comparison), TIED if comparison.best else ""):
        if note:
            console.print(visible(note), style="dim", markup=False, highlight=False)
    for lack in comparison.missing:
        line = f"missing: {lack.label}, seed {lack.seed}: {lack.why}"
        console.print(visible(line), style="yellow", markup=False, highlight=False)


def print_gates(gates: Gates, *, console: Console | None = None) -> None:
    """Print each gate with its number and limit, whether it passes, and what the number is made of."""
    console = console or make_console()
    table = make_table(
        "Gates: can this study tell methods apart?", "gate", "number", "limit", "result", left=("result",)
    )
    for gate in gates.gates:
        verdict = {True: "pass", False: "miss", None: "not measured"}[gate.passed]
        value = "–" if gate.value is None else f"{gate.value:.2f}"
        limit = f"{'at least' if gate.at_least else 'at most'} {gate.limit:g}"
        table.add_row(plain(gate.name), value, limit, verdict)
    print_tables([table], console)
    for gate in gates.gates:
        console.print(visible(f"{gate.name}: {gate.note}"), markup=False, highlight=False)


def _tables(comparison: Comparison) -> Iterator[Table]:
    for sets in _split(comparison.sets, _SETS_PER_TABLE):
        yield _accuracy_table(comparison, sets)
    yield _work_table(comparison)
    for sets in _split(list(comparison.targets)):
        yield _target_table(comparison, sets)
    for name in comparison.sets:
        for baselines in _split(comparison.baselines):
            title = f"{name}: points over each baseline after the last round"
            yield _difference_table(comparison, comparison.differences, name, baselines, title)
        for baselines in _split(comparison.baselines):
            title = f"{name}: points over each baseline at matched training tokens"
            yield _difference_table(comparison, comparison.matched, name, baselines, title)
    for name in comparison.sets:
        yield _level_table(comparison, name)
    yield _shares_table(comparison)


def _split(columns: Sequence[str], width: int = _COLUMNS_PER_TABLE) -> Iterator[Sequence[str]]:
    for start in range(0, len(columns), width):
        yield columns[start : start + width]


def _accuracy_table(comparison: Comparison, sets: Sequence[str]) -> Table:
    seeds = len(comparison.seeds)
    what = (
        f"mean of {seeds} seeds, 95 % t interval over seeds" if seeds > 1 else "95 % interval over questions"
    )
    title = f"Accuracy after the last round, {what}; tokens of a response"
    columns = [column for name in sets for column in (name, "tokens")]
    table = make_table(title, "entry", "seeds", *columns)
    table.add_row("base", str(seeds), *_with_length([comparison.base[s] for s in sets]))
    for label, entry in comparison.entries.items():
        found = [entry.last.evaluation.get(s) if entry.last else None for s in sets]
        table.add_row(plain(label), str(len(entry.seeds)), *_with_length(found))
    return table


def _work_table(comparison: Comparison) -> Table:
    """Return the total work of each entry."""
    table = make_table(
        "Work: sampling and training, useful FLOPs (padded), without evaluation",
        *("entry", "trained tokens", "sampled tokens", "FLOPs", "seconds"),
    )
    for label, entry in comparison.entries.items():
        if entry.last is not None:
            work = entry.last.cumulative
            tokens = plain(number(work.trained_tokens)), plain(number(work.sampled_tokens))
            table.add_row(plain(label), *tokens, _flops(work.flops), f"{entry.seconds:.0f}")
    return table


def _target_table(comparison: Comparison, sets: Sequence[str]) -> Table:
    """Return the work of each entry to reach the strongest baseline's best."""
    found = [comparison.targets[s] for s in sets]
    heads = [f"{s}: {percent(t.accuracy)} ({t.baseline})" for s, t in zip(sets, found, strict=True)]
    table = make_table("Useful FLOPs to the strongest baseline's best accuracy", "entry", *heads)
    for label, entry in comparison.entries.items():
        if entry.last is not None:
            table.add_row(plain(label), *(_reached(comparison.to_target[s][label]) for s in sets))
    return table


def _difference_table(
    comparison: Comparison,
    found: Mapping[str, Mapping[str, Mapping[str, SeedDifference]]],
    name: str,
    baselines: Sequence[str],
    title: str,
) -> Table:
    """Return entries down, baselines across."""
    table = make_table(title, "entry", *(f"− {baseline}" for baseline in baselines))
    for label in comparison.entries:
        by_baseline = [found[b][label].get(name) if label in found[b] else None for b in baselines]
        if any(by_baseline):
            table.add_row(plain(label), *map(_difference, by_baseline))
    return table


def _level_table(comparison: Comparison, name: str) -> Table:
    base = comparison.base[name].by_level
    table = make_table(f"{name}: accuracy by level after the last round, % (tokens)", "entry", *base)
    if base:
        table.add_row("base", *map(_percent, base.values()))
    for label, entry in comparison.entries.items():
        last = entry.last.evaluation.get(name) if entry.last else None
        if base and last and last.by_level:
            table.add_row(plain(label), *(_percent(last.by_level.get(level)) for level in base))
    return table


def _shares_table(comparison: Comparison) -> Table:
    table = make_table("Level shares of the last round's training data, before → after, %", "entry", *LEVELS)
    for label, entry in comparison.entries.items():
        shares = entry.last.level_shares if entry.last else None
        if shares:
            before, after = shares.before, shares.after
            cells = [f"{100 * before.get(v, 0):.1f} → {100 * after.get(v, 0):.1f}" for v in LEVELS]
            table.add_row(plain(label), *cells)
    return table


# --- cells --------------------------------------------------------------------------------------------


def _accuracy(cell: SeedAccuracy | None) -> str:
    if cell is None or cell.accuracy is None:
        return "–"
    interval = cell.interval or cell.interval_questions
    bounds = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return plain(f"{100 * cell.accuracy:.1f}{bounds}")


def _with_length(found: Sequence[SetAccuracy | None]) -> list[str]:
    return [text for cell in found for text in (_accuracy(cell), tokens(cell.mean_length if cell else None))]


def _percent(cell: SeedAccuracy | None) -> str:
    """Return "55.0 (45.1)": the accuracy in per cent, and the mean length of a response in tokens."""
    if cell is None or cell.accuracy is None:
        return "–"
    return f"{100 * cell.accuracy:.1f} ({tokens(cell.mean_length)})"


def _difference(found: SeedDifference | None) -> str:
    cell = difference(found)
    if isinstance(found, MatchedDifference):
        mine, theirs = map(number, found.trained_tokens)
        cell += "\n" + plain(f"{mine} : {theirs}")
    return cell


def _flops(flops: Flops) -> str:
    return plain(f"{number(flops.useful)} ({number(flops.padded)})")


def _reached(work: Reached | None) -> str:
    return plain(f"{number(work.flops.useful)}, round {work.round}") if work else "not reached"
