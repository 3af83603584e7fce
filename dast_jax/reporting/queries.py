"""What the rounds did for the training queries: reach by level, levels that move, and their reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dast_jax.metrics.stats import sorted_levels, wilson_interval
from dast_jax.records import LEVELS
from dast_jax.reporting.layout import per_run
from dast_jax.reporting.load import RunData
from dast_jax.reporting.markup import Html
from dast_jax.reporting.numbers import percent
from dast_jax.reporting.page import (
    card,
    cards,
    details,
    figure,
    paragraph,
    section,
    table,
)
from dast_jax.reporting.svg import Bars, Segments, grouped_bars, stacked_bars
from dast_jax.store.analysis_results import LevelProgress, RoundAnalysis, StepCounts

__all__ = ["queries"]

_COLORS = {level: (f"var(--l{i})", f"var(--k{i})") for i, level in enumerate(LEVELS)}
_UNKNOWN = ("var(--line)", "var(--ink)")

_SOURCES = {
    "method": "Levels are the method's own estimate.",
    "trials": "The method estimates no levels: these are by each query's first trials, from 5 on, whichever "
    "policies sampled them.",
    "none": "No query has trials enough for a level.",
}


def queries(runs: Sequence[RunData]) -> Html:
    """Reach, transitions, reliability and false positives by level; the tables folded away."""
    parts = []
    for run in runs:
        found = [(entry.round, entry.analysis) for entry in run.rounds if entry.analysis]
        if found:
            figures = [_reach_figure(found), _transition_figure(run, found), _steps_figure(found)]
            content = [cards(figures), card(_reliability(found), _reach_tables(found))]
            parts.append(per_run(runs, run, *content))
    return section(
        "Training queries by level",
        *parts,
        note="Solved: a correct response in any round so far. Covered: a response of the model in what a "
        "round so far trained on. A query's level is the first that is known of it.",
        anchor="queries",
    )


Rounds = Sequence[tuple[int, RoundAnalysis]]


def _reach_figure(found: Rounds) -> Html:
    """Share of each level's queries that are solved and covered, after the first round and the last."""
    sides = [found[0], found[-1]] if len(found) > 1 else [found[-1]]
    levels = list(found[-1][1].progress)
    bars = []
    for i, (number, analysis) in enumerate(sides):
        for kind, field, colors in (("solved", "solved", "50"), ("covered", "covered_so_far", "41")):
            values = [_share(analysis.progress.get(level), field) for level in levels]
            label = f"{kind}, round {number}"
            bars.append(Bars(label=label, color=f"var(--r{colors[i + 2 - len(sides)]})", y=values))
    chart = grouped_bars(levels, bars, title="Queries solved and covered by level", group_name="level")
    return figure("Queries solved and covered so far", chart, _SOURCES[found[-1][1].levels_from])


def _share(progress: LevelProgress | None, field: str) -> float | None:
    count: int | None = None if progress is None else getattr(progress, field)
    return None if progress is None or count is None else count / max(progress.queries, 1)


def _reach_tables(found: Rounds) -> Html:
    head = ["queries", "sampled", "solved so far", "newly solved", "covered", "covered so far", "rows"]
    tables = []
    for title, field in (("by level", "progress"), ("by the data's labels", "by_label")):
        rows: list[list[object]] = [["round and level", *head]]
        for number, analysis in found:
            by: Mapping[str, LevelProgress] = getattr(analysis, field)
            for name in sorted_levels(list(by)):
                p = by[name]
                cells = (p.sampled, p.solved, p.newly_solved, p.covered, p.covered_so_far, p.rows)
                rows.append([f"round {number}, {name}", p.queries, *cells])
        if len(rows) > 1:
            tables.append(details(f"Reach {title}, round by round", table(rows)))
    return Html("".join(tables))


# --- levels that move, and how far they can be trusted ------------------------------------------------


def _transition_figure(run: RunData, found: Rounds) -> Html:
    """First level against the level under the last policy: of the probe, else of the round's own trials."""
    probed = [(p.name, p.probe.transitions) for p in run.points if p.probe and p.probe.transitions]
    sampled = [(f"round {number}", a.transitions) for number, a in found if a.transitions]
    shown = probed or sampled
    if not shown:
        return Html("")
    name, moved = shown[-1]
    names = [f"{level} ({sum(moved[level].values())})" for level in moved]
    segments = [
        Segments(
            label=level,
            color=_COLORS.get(level, _UNKNOWN)[0],
            ink=_COLORS.get(level, _UNKNOWN)[1],
            values=[by[level] / max(sum(by.values()), 1) for by in moved.values()],
        )
        for level in (*LEVELS, "unknown")
        if any(by[level] for by in moved.values())
    ]
    title = (
        f"First level, and level after {name}" if probed else f"First level, and level under M_t of {name}"
    )
    chart = stacked_bars(names, segments, title=title, row_name="first level")
    note = (
        "By the trials of the probe, the same for all policies."
        if probed
        else "By the round's own trials. A method that stops sampling a query once it has enough of it "
        "leaves those that go badly: evaluation.probe_trials ≥ 5 compares without that choice."
    )
    tables = details("All rounds, queries", *(_transition_table(*each) for each in (*probed, *sampled)))
    return figure(title, chart, note, more=tables)


def _transition_table(name: str, moved: Mapping[str, Mapping[str, int]]) -> Html:
    columns = (*LEVELS, "unknown")
    rows: list[list[object]] = [["first level", *columns]]
    rows += [[level, *(by[column] for column in columns)] for level, by in moved.items()]
    return table(rows, caption=name)


def _reliability(found: Rounds) -> Html:
    estimates = [(number, a.reliability) for number, a in found if a.reliability]
    if not estimates:
        return paragraph(
            "Reliability of the levels: unknown; no round estimated levels from two or more trials of every "
            "query.",
            "note",
        )
    head = ["estimate", "queries", "trials in a half", "same level", "κ", "r", "reliability of the pass rate"]
    rows: list[list[object]] = [list(head)]
    for number, r in estimates:
        numbers = (r.kappa, r.correlation, r.reliability)
        cells = ["–" if value is None else f"{value:.2f}" for value in numbers]
        rows.append([f"round {number}", r.queries, r.trials, percent(r.same_level), *cells])
    caption = (
        "Reliability of the levels: odd against even trials. κ is that of half as many trials; the "
        "reliability of the pass rate is Spearman–Brown's, of all of them."
    )
    return table(rows, caption=caption)


# --- false positives ----------------------------------------------------------------------------------


def _steps_figure(found: Rounds) -> Html:
    """Share of the correct responses that rest on a wrong step, by level."""
    rounds = [(number, a.steps) for number, a in found if a.steps][-4:]
    levels = sorted_levels([level for _, steps in rounds for level in steps])
    if not levels:
        return Html("")
    bars = [
        Bars(
            label=f"round {number}",
            color=f"var(--r{i % 6})",
            y=[_wrong_share(steps.get(v))[0] for v in levels],
            low=[_wrong_share(steps.get(v))[1] for v in levels],
            high=[_wrong_share(steps.get(v))[2] for v in levels],
        )
        for i, (number, steps) in enumerate(rounds)
    ]
    chart = grouped_bars(
        levels, bars, title="Correct responses with a wrong step, by level", group_name="level"
    )
    checked = sum(s.checked for _, steps in rounds for s in steps.values())
    wrong = sum(s.false_positives for _, steps in rounds for s in steps.values())
    correct = sum(s.correct for _, steps in rounds for s in steps.values())
    refused = sum(s.refused for _, steps in rounds for s in steps.values())
    refusals = f" {refused:,} more were refused for a wrong or unreadable step." if refused else ""
    note = (
        f"{wrong:,} of {checked:,} correct responses that show readable steps; {correct - checked:,} "
        f"show none.{refusals} Error bars are 95\u202f% intervals that take responses as independent."
    )
    return figure("False positives: correct answer, wrong step", chart, note)


def _wrong_share(steps: StepCounts | None) -> tuple[float | None, float | None, float | None]:
    """Return the share of the checked responses with a wrong step, and its interval; None without any."""
    if steps is None or not steps.checked:
        return None, None, None
    return (
        steps.false_positives / steps.checked,
        *wilson_interval(steps.false_positives, steps.checked),
    )
