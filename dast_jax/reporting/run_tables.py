"""The tables that a run and an evaluation print at their end in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dast_jax.metrics.stats import sorted_levels
from dast_jax.records import LEVELS, VerdictKind
from dast_jax.reporting.load import Point, points_of, speeds_of, use_cells
from dast_jax.reporting.numbers import out_of, tokens
from dast_jax.reporting.terminal import (
    accuracy,
    count,
    difference,
    make_console,
    make_table,
    plain,
    print_tables,
)
from dast_jax.runtime.visible import visible
from dast_jax.store.evaluation_results import EvalEntry, Metrics
from dast_jax.store.results import RoundResult, Summary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_metrics", "print_summary"]

_METRICS_COLUMNS = ("accuracy", "tokens", "questions")


def print_summary(summary: Summary, *, console: Console | None = None) -> None:
    """Print accuracy, level shares, sampling and training, time, and warnings of a run."""
    console = console or make_console()
    points = points_of(summary)
    tables = [
        _accuracy_table(points),
        _levels_table([p for p in points if p.evaluation]),
        _shares_table(summary.rounds),
        _shortfall_table(summary.rounds),
        _sampling_table(summary),
        _probe_table(points),
        _training_table(summary.rounds),
        _speed_table(summary.rounds),
        _seconds_table(points, summary),
    ]
    print_tables(tables, console)
    for warning in summary.warnings:
        console.print(f"warning: {plain(warning)}", style="yellow", highlight=False)


def print_metrics(metrics: Metrics, *, name: str = "", console: Console | None = None) -> None:
    """Print one evaluation: accuracy, by level, pass@k, majority@k, and responses by verdict."""
    console = console or make_console()
    title = f"{name}: accuracy" if name else "Accuracy"
    table = make_table(f"{title}, 95 % intervals; tokens of a response", "", *_METRICS_COLUMNS)
    several = metrics.trials > 1
    row = f"avg@{metrics.trials} (mean of {metrics.trials} trials)" if several else "accuracy"
    table.add_row(row, accuracy(metrics), tokens(metrics.mean_length), str(metrics.n), style="bold")
    for level, entry in metrics.by_level.items():
        table.add_row(plain(f"  level {level}"), accuracy(entry), tokens(entry.mean_length), str(entry.n))
    for kind, scores in (("pass", metrics.pass_at), ("majority", metrics.majority_at)):
        for k, score in scores.items():
            table.add_row(f"  {kind}@{k}", accuracy(score), "", "")
    print_tables([table], console)
    for line in (_verdicts(metrics), _skipped(metrics.skipped)):
        if line:
            console.print(visible(line), markup=False, highlight=False)


def _verdicts(entry: EvalEntry) -> str:
    parts = [f"{kind.value.replace('_', ' ')} {getattr(entry.verdicts, kind.value)}" for kind in VerdictKind]
    parts += [f"truncated {entry.truncated}", f"run-away {entry.runaway}"]
    return "responses: " + ", ".join(parts)


def _skipped(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f"skipped, too long: {', '.join(ids[:5])}{more}"


# --- tables of a run ----------------------------------------------------------------------------------


def _accuracy_table(points: Sequence[Point]) -> Table:
    table = make_table(
        "Accuracy, 95 % intervals; tokens of a response; over base: paired by question",
        *("set", "policy", "accuracy", "tokens", "over base"),
        left=("policy",),
    )
    for name in _sets(points):
        table.add_section()
        evaluated = [p for p in points if name in p.evaluation]
        for i, point in enumerate(evaluated):
            entry = point.evaluation[name]
            set_cell = (plain(name), f"{entry.n:,} questions")[i] if i < 2 else ""
            cells = accuracy(entry), tokens(entry.mean_length), difference(point.paired.get(name))
            table.add_row(set_cell, point.name, *cells)
    return table


def _levels_table(points: Sequence[Point]) -> Table:
    """Return the accuracy by level of the first and the last of the evaluated points."""
    sides = [*points[:1], *points[1:][-1:]]
    columns = ("set, level", "n", *(p.name for p in sides), "tokens")
    table = make_table("Accuracy by level, questions, and tokens of a response", *columns)
    for name in _sets(sides):
        table.add_section()
        by_level = [p.evaluation[name].by_level if name in p.evaluation else {} for p in sides]
        levels = sorted_levels([level for by in by_level for level in by])
        if levels:
            table.add_row(plain(name))
        for level in levels:
            n = next(by[level].n for by in by_level if level in by)
            lengths = [tokens(by[level].mean_length) if level in by else "–" for by in by_level]
            cells = [accuracy(by.get(level)) for by in by_level]
            table.add_row(plain(f"  {level}"), str(n), *cells, " → ".join(lengths))
    return table


def _shares_table(rounds: Sequence[RoundResult]) -> Table:
    table = make_table("Level shares of the training data, before → after augmentation, %", "round", *LEVELS)
    for entry in rounds:
        if entry.level_shares:
            before, after = entry.level_shares.before, entry.level_shares.after
            cells = [f"{100 * before.get(v, 0):.1f} → {100 * after.get(v, 0):.1f}" for v in LEVELS]
            table.add_row(f"round {entry.round}", *cells)
    return table


def _shortfall_table(rounds: Sequence[RoundResult]) -> Table:
    table = make_table("Examples short of their quota", "round", "examples", left=("examples",))
    for entry in rounds:
        short = ", ".join(f"{n} {level}" for level, n in entry.shortfall.items() if n)
        if short:
            table.add_row(f"round {entry.round}", plain(short))
    return table


def _sampling_table(summary: Summary) -> Table:
    table = make_table("Sampling", "round", "trials", "correct", "tokens", "length ratio")
    if summary.base and summary.base.length_ratio is not None:
        table.add_row("base", "–", "–", "–", f"{summary.base.length_ratio:.2f}")
    for entry in summary.rounds:
        sampling, ratio = entry.sampling, entry.length_ratio
        share = f" ({sampling.correct / sampling.trials:.0%})" if sampling.trials else ""
        table.add_row(
            f"round {entry.round}",
            count(sampling.trials),
            count(sampling.correct) + share,
            count(sampling.tokens),
            "–" if ratio is None else f"{ratio:.2f}",
        )
    return table


def _probe_table(points: Sequence[Point]) -> Table:
    """Return the pass rate of the probed queries with both prompts, policy by policy."""
    columns = ("policy", "zero-shot", "tokens", "few-shot", "tokens")
    table = make_table("The same training queries: pass rate, 95 % intervals; tokens of a response", *columns)
    for point in points:
        if point.probe:
            entries = (point.probe.zero_shot, point.probe.few_shot)
            cells = [(accuracy(e), tokens(e.mean_length if e else None)) for e in entries]
            table.add_row(point.name, *cells[0], *cells[1])
    return table


def _training_table(rounds: Sequence[RoundResult]) -> Table:
    columns = ("round", "examples", "reference", "tokens", "steps", "final loss")
    table = make_table("Training", *columns)
    for entry in rounds:
        trained = entry.training
        if trained is not None:
            counts = (trained.examples, trained.reference_examples, trained.tokens)
            loss = "–" if trained.final_loss is None else f"{trained.final_loss:.4f}"
            steps = out_of(trained.steps, trained.planned_steps, count)
            table.add_row(f"round {entry.round}", *map(count, counts), steps, loss)
    return table


def _speed_table(rounds: Sequence[RoundResult]) -> Table:
    columns = ("round", "stage", "tokens/s", "padding", "idle slots", "host wait", "MFU", "compile", "memory")
    table = make_table("Speed; shares of positions, of slots and of the time", *columns, left=("stage",))
    for entry in rounds:
        for stage, speed in speeds_of(entry):
            shares = speed.padding, speed.idle_slots, speed.host_wait, speed.mfu
            rate = "–" if speed.tokens_per_second is None else f"{speed.tokens_per_second:,.0f}"
            cells = ("–" if share is None else f"{share:.0%}" for share in shares)
            table.add_row(f"round {entry.round}", stage, rate, *cells, *use_cells(speed))
    return table


def _seconds_table(points: Sequence[Point], summary: Summary) -> Table:
    stages = ("sample", "build", "train", "evaluate")
    total = summary.total
    memory = f", peak host memory {total.peak_memory_gib:.1f} GiB" if total.peak_memory_gib else ""
    table = make_table(f"Seconds by stage, {total.seconds:.0f} total{memory}", "", *stages)
    for point in points:
        seconds = [getattr(point.seconds, stage) for stage in stages]
        table.add_row(point.name, *("–" if value is None else f"{value:.1f}" for value in seconds))
    return table


def _sets(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point.evaluation))
