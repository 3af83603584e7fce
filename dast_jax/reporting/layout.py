"""Shared by the sections: a run's color, the rounds as an axis, run names as headings."""

from __future__ import annotations

from collections.abc import Sequence

from dast_jax.reporting.load import Point, RunData
from dast_jax.reporting.markup import Html, text

__all__ = ["per_run", "position", "round_ticks", "run_color", "thin"]


def per_run(runs: Sequence[RunData], run: RunData, *content: Html) -> Html:
    """Return the content under the run's name where several are shown."""
    if not any(content):
        return Html("")
    name = f"<h3>{text(run.label)}</h3>" if len(runs) > 1 else ""
    return Html(name + "".join(content))


def run_color(index: int) -> str:
    return f"var(--r{index % 6})"


def position(point: Point) -> float:
    return -1.0 if point.round is None else float(point.round)


def round_ticks(runs: Sequence[RunData]) -> list[tuple[float, str]]:
    ticks = {position(p): p.short for run in runs for p in run.points}
    return thin(sorted(ticks.items())) or [(-1.0, "base")]


def thin(ticks: list[tuple[float, str]], limit: int = 12) -> list[tuple[float, str]]:
    """Return about `limit` of the ticks at most, the last one included: the axis spans first to last."""
    if len(ticks) <= limit:
        return ticks
    kept = ticks[:: -(-len(ticks) // limit)]
    return kept if kept[-1] == ticks[-1] else [*kept, ticks[-1]]
