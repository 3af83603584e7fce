"""The accuracy section: by round with bands, by level with error bars, and the table of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dast_jax.metrics.stats import Accuracy, Score, sorted_levels
from dast_jax.reporting.cost import contamination_card
from dast_jax.reporting.headline import (
    accuracy_cell,
    base_point,
    difference_between,
    difference_cell,
    last_round,
)
from dast_jax.reporting.layout import per_run, position, round_ticks, run_color
from dast_jax.reporting.load import Point, RunData
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.page import card, cards, details, figure, section, table
from dast_jax.reporting.svg import (
    Bars,
    Line,
    grouped_bars,
    line_chart,
)

__all__ = ["accuracy"]


def accuracy(runs: Sequence[RunData]) -> Html:
    """Accuracy per round with bands, by level with error bars, and the table of both."""
    sets = list(dict.fromkeys(name for run in runs for name in run.sets))
    return section(
        "Accuracy",
        cards([draw(runs, name) for name in sets for draw in (_accuracy_figure, _level_figure)]),
        *[per_run(runs, run, _accuracy_table(run), contamination_card(run)) for run in runs],
        note="Share of questions answered correctly; bands, error bars and brackets are 95 % intervals. "
        f"Base is the model before any training{_round_0_note(runs)}. Differences, in points, are paired by "
        "question.",
        anchor="accuracy",
    )


def _round_0_note(runs: Sequence[RunData]) -> str:
    """Return the note only where it applies: DAST's round 0 trains on the original data, others' need not."""
    first = [run.rounds[0].training for run in runs if run.rounds]
    only = [t is not None and 0 < t.examples == t.reference_examples for t in first]
    return "; round 0 trains on the reference solutions alone" if only and all(only) else ""


def _accuracy_figure(runs: Sequence[RunData], name: str) -> Html:
    lines = []
    for i, run in enumerate(runs):
        points = run.evaluated(name)
        entries = [p.evaluation[name] for p in points]
        if entries:
            lines.append(
                Line(
                    label=run.label,
                    color=run_color(i),
                    x=[position(p) for p in points],
                    y=[e.accuracy for e in entries],
                    low=[e.interval[0] for e in entries],
                    high=[e.interval[1] for e in entries],
                )
            )
    if not lines:
        return Html("")
    chart = line_chart(lines, title=f"Accuracy on {name} by round", ticks=round_ticks(runs), x_name="round")
    return figure(f"{name}: accuracy by round", chart)


def _level_figure(runs: Sequence[RunData], name: str) -> Html:
    series: list[tuple[str, str, Mapping[str, Accuracy]]] = []
    for i, run in enumerate(runs):
        base, last = base_point(run, name), last_round(run, name)
        if base and i == 0:
            series.append(("base", "var(--base)", base.evaluation[name].by_level))
        if last:
            label = last.name if len(runs) == 1 else f"{run.label}, {last.name}"
            series.append((label, run_color(i), last.evaluation[name].by_level))
    levels = sorted_levels([level for _, _, by in series for level in by])
    if not levels:
        return Html("")
    bars = [
        Bars(
            label=label,
            color=color,
            y=[by[v].accuracy if v in by else None for v in levels],
            low=[by[v].interval[0] if v in by else None for v in levels],
            high=[by[v].interval[1] if v in by else None for v in levels],
        )
        for label, color, by in series
    ]
    chart = grouped_bars(
        levels, bars, title=f"Accuracy on {name} by level, before and after", group_name="level"
    )
    return figure(f"{name}: accuracy by level", chart)


def _accuracy_table(run: RunData) -> Html:
    """Return sets and their levels down, base and rounds across, then the paired differences."""
    if not run.sets:
        return Html("")
    points = [p for p in run.points if p.evaluation]
    first = next((p for p in points if p.round is not None), None)
    last = next((p for p in reversed(points) if p.round is not None), None)
    against_first = first is not None and last is not None and first.round != last.round
    head: list[object] = ["set", "questions", *(p.name for p in points), "last − base"]
    rows = [head + ([f"last − {first.name}"] if against_first and first else [])]
    for name in run.sets:
        entries = [p.evaluation.get(name) for p in points]
        n = next(e.n for e in entries if e)
        paired = last.paired.get(name) if last else None
        row: list[object] = [Html(f"<b>{text(name)}</b>"), n, *(accuracy_cell(e) for e in entries)]
        row.append(difference_cell(paired))
        if against_first and first and last:
            row.append(difference_cell(difference_between(run.scores(last, name), run.scores(first, name))))
        rows.append(row)
        for level in sorted_levels([v for e in entries if e for v in e.by_level]):
            cells = [e.by_level.get(level) if e else None for e in entries]
            count = next(c.n for c in cells if c)
            blank = [""] * (len(rows[0]) - 2 - len(cells))
            rows.append(
                [Html(f"&ensp;level {text(level)}"), count, *(accuracy_cell(c) for c in cells), *blank]
            )
    return card(table(rows), _several_trials(run, points))


def _several_trials(run: RunData, points: Sequence[Point]) -> Html:
    """Return pass@k and majority@k behind a click, where an evaluation had several trials."""
    rows: list[list[object]] = [["set", *(p.name for p in points)]]
    for name in run.sets:
        entries = [p.evaluation.get(name) for p in points]
        rows += _rows_by_k(f"{name}: pass@", [e.pass_at if e else {} for e in entries])
        rows += _rows_by_k(f"{name}: majority@", [e.majority_at if e else {} for e in entries])
    return details("pass@k and majority@k", table(rows)) if len(rows) > 1 else Html("")


def _rows_by_k(title: str, found: Sequence[Mapping[str, Score]]) -> list[list[object]]:
    return [
        [f"{title}{k}", *(accuracy_cell(scores.get(str(k))) for scores in found)]
        for k in sorted({int(k) for scores in found for k in scores})
    ]
