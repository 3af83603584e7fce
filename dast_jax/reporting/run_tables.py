"""The tables a run and an evaluation end with in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dast_jax.metrics.stats import sorted_levels
from dast_jax.records import LEVELS, VerdictKind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_metrics", "print_summary"]

_WIDTH = 110
"""Columns where there is no terminal to ask (a pipe, a CI log)."""


def print_summary(summary: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Print what `summary.json` says: accuracy, level shares, sampling and training, time, warnings."""
    console = console or _console()
    rounds = summary.get("rounds") or []
    for table in (
        _accuracy_table(summary),
        _levels_table(summary),
        _shares_table(rounds),
        _work_table(summary),
        _seconds_table(summary),
    ):
        if table.row_count:
            console.print(table)
            console.print()
    for warning in summary.get("warnings") or ():
        console.print(f"warning: {_plain(warning)}", style="yellow", highlight=False)


def print_metrics(metrics: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Print one EVAL entry, as the `evaluate` face has it: overall, by level, pass@k, majority@k."""
    console = console or _console()
    table = _table("Accuracy, 95 % intervals", "", "accuracy", "questions")
    title = (
        "accuracy"
        if metrics.get("trials", 1) == 1
        else f"avg@{metrics['trials']} (mean of {metrics['trials']} trials)"
    )
    table.add_row(title, _accuracy(metrics), str(metrics.get("n", "–")), style="bold")
    for level, entry in (metrics.get("by_level") or {}).items():
        table.add_row(_plain(f"  level {level}"), _accuracy(entry), str(entry["n"]))
    for key, name in (("pass_at", "pass@"), ("majority_at", "majority@")):
        for k, entry in (metrics.get(key) or {}).items():
            table.add_row(f"  {name}{k}", _accuracy(entry), "")
    console.print(table)
    verdicts = metrics.get("verdicts") or {}
    parts = [f"{kind.value.replace('_', ' ')} {verdicts.get(kind.value, 0)}" for kind in VerdictKind]
    length = metrics.get("mean_length")
    tail = f"; truncated {metrics.get('truncated', 0)}" + (
        f"; mean length {length:.1f} tokens" if length else ""
    )
    console.print("verdicts: " + ", ".join(parts) + tail, markup=False, highlight=False)
    if metrics.get("skipped"):
        console.print(
            f"skipped, too long: {', '.join(map(str, metrics['skipped'][:5]))}"
            + (f" and {len(metrics['skipped']) - 5} more" if len(metrics["skipped"]) > 5 else ""),
            markup=False,
            highlight=False,
        )


def _accuracy_table(summary: Mapping[str, Any]) -> Table:
    table = _table(
        "Accuracy, 95 % intervals", "set", "questions", "policy", "accuracy", "points over base (paired)"
    )
    points = list(_points(summary))
    for name in _sets(points):
        table.add_section()
        first = True
        for policy, entry in points:
            evaluation = (entry.get("evaluation") or {}).get(name)
            if not evaluation:
                continue
            table.add_row(
                _plain(name) if first else "",
                str(evaluation["n"]) if first else "",
                policy,
                _accuracy(evaluation),
                _difference((entry.get("paired") or {}).get(name)),
            )
            first = False
    return table


def _levels_table(summary: Mapping[str, Any]) -> Table:
    points = list(_points(summary))
    evaluated = [(policy, e) for policy, e in points if e.get("evaluation")]
    before, after = (evaluated[0], evaluated[-1]) if evaluated else (("", {}), ("", {}))
    single = before[0] == after[0]
    table = _table(
        "Accuracy by level", "set", "level", "questions", before[0], *([] if single else [after[0]])
    )
    for name in _sets(evaluated):
        table.add_section()
        first = True
        sides = [
            ((entry.get("evaluation") or {}).get(name) or {}).get("by_level") or {}
            for _, entry in ((before,) if single else (before, after))
        ]
        for level in sorted_levels([level for side in sides for level in side]):
            n = next(side[level]["n"] for side in sides if level in side)
            cells = [_accuracy(side.get(level)) for side in sides]
            table.add_row(_plain(name) if first else "", _plain(level), str(n), *cells)
            first = False
    return table


def _shares_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(
        "Level shares of the training data, before → after augmentation, %",
        "round",
        *LEVELS,
        "short of quota",
    )
    for entry in rounds:
        shares = entry.get("level_shares")
        if not shares:
            continue
        before, after = shares["before"], shares["after"]
        cells = [f"{100 * before.get(v, 0):.1f} → {100 * after.get(v, 0):.1f}" for v in LEVELS]
        short = ", ".join(f"{n} {level}" for level, n in (entry.get("shortfall") or {}).items() if n)
        table.add_row(f"round {entry['round']}", *cells, short or "none")
    return table


def _work_table(summary: Mapping[str, Any]) -> Table:
    table = _table(
        "Sampling and training",
        *("round", "trials", "correct", "sampled tokens", "examples", "reference", "steps", "final loss"),
        "length ratio",
    )
    for policy, entry in _points(summary):
        sampling, training = entry.get("sampling") or {}, entry.get("training") or {}
        ratio, loss = entry.get("length_ratio"), training.get("final_loss")
        if policy == "base" and ratio is None:
            continue
        trials = sampling.get("trials")
        share = f" ({sampling.get('correct', 0) / trials:.0%})" if trials else ""
        table.add_row(
            policy,
            _count(trials),
            _count(sampling.get("correct")) + share,
            _count(sampling.get("tokens")),
            _count(training.get("examples")),
            _count(training.get("reference_examples")),
            _count(training.get("steps")),
            "–" if loss is None else f"{loss:.4f}",
            "–" if ratio is None else f"{ratio:.2f}",
        )
    return table


def _seconds_table(summary: Mapping[str, Any]) -> Table:
    total = summary.get("total") or {}
    memory = total.get("peak_memory_gib")
    title = f"Seconds; {total.get('seconds', 0.0):.0f} in all" + (
        f", {memory:.1f} GiB at most" if memory else ""
    )
    stages = ("sample", "build", "train", "evaluate")
    table = _table(title, "round", *stages, "all")
    for policy, entry in _points(summary):
        seconds = entry.get("seconds") or {}
        if any(seconds.values()):
            cells = [f"{seconds[s]:.1f}" if seconds.get(s) else "–" for s in stages]
            table.add_row(policy, *cells, f"{sum(filter(None, seconds.values())):.1f}")
    return table


# --- cells --------------------------------------------------------------------------------------------


def _points(summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("base" or "round N", its entry) in order."""
    if summary.get("base"):
        yield "base", summary["base"]
    for entry in summary.get("rounds") or ():
        yield f"round {entry['round']}", entry


def _sets(points: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(name for _, entry in points for name in entry.get("evaluation") or {}))


def _accuracy(entry: Mapping[str, Any] | None) -> str:
    if not entry or entry.get("accuracy") is None:
        return "–"
    low, high = entry["interval"]
    # A backslash keeps rich from reading the bracket as markup.
    return f"{100 * entry['accuracy']:.1f} % \\[{100 * low:.1f}, {100 * high:.1f}]"


def _difference(paired: Mapping[str, Any] | None) -> str:
    if not paired:
        return "–"
    low, high = paired["interval"]
    style = "green" if low > 0 else "red" if high < 0 else "none"
    text = f"{100 * paired['difference']:+.1f} \\[{100 * low:+.1f}, {100 * high:+.1f}]"
    return text if style == "none" else f"[{style}]{text}[/{style}]"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _plain(text: object) -> str:
    """`text` with nothing in it that rich would read as markup, or a terminal as a command."""
    from rich.markup import escape

    return escape("".join(c if c >= " " else "\ufffd" for c in str(text)))


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    words = ("", "set", "level", "round", "policy", "short of quota")
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", overflow="fold")
    return table


def _console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)
