"""The page of a study, `comparison.html`: accuracy, work, differences and level shares of its entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dast_jax.metrics.stats import Accuracy
from dast_jax.records import LEVELS
from dast_jax.reporting.findings import TIED, cut_points, findings
from dast_jax.reporting.headline import accuracy_cell, difference_cell
from dast_jax.reporting.layout import run_color
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.numbers import number, percent, signed_points, tokens
from dast_jax.reporting.page import (
    card,
    cards,
    details,
    figure,
    head,
    notice,
    page,
    paragraph,
    section,
    table,
)
from dast_jax.reporting.svg import (
    Bars,
    Line,
    Segments,
    grouped_bars,
    line_chart,
    stacked_bars,
)
from dast_jax.store.comparison_results import (
    ComparedEntry,
    ComparedRound,
    Comparison,
    MatchedDifference,
    SeedAccuracy,
    SeedDifference,
    SetAccuracy,
)

__all__ = ["render_comparison"]

_LEVEL_COLORS = [(f"var(--l{i})", f"var(--k{i})") for i in range(len(LEVELS))]


def render_comparison(comparison: Comparison) -> str:
    """Return the comparison as one self-contained HTML page."""
    from dast_jax.version import __version__

    sets = comparison.sets
    body = [
        section(
            "Accuracy",
            cards([draw(comparison, s) for s in sets for draw in (_bars_figure, _rounds_figure)]),
            card(_accuracy_table(comparison)) if comparison.entries else Html(""),
            note=_interval_note(comparison),
            anchor="accuracy",
        ),
        section(
            "Differences",
            *[_difference_tables(comparison, s) for s in sets],
            note="In points, the row's entry minus the column's baseline, of the same seed and question; "
            "the mean over both, brackets are 95\u202f% bootstrap intervals over seeds and questions. At "
            "matched tokens: up to the rounds by which both had trained on about as many tokens (given below "
            "the difference, the row's first).",
            anchor="differences",
        ),
        section(
            "Work",
            cards([_flops_figure(comparison), *[_curve_figure(comparison, s) for s in sets]]),
            card(_work_table(comparison)) if comparison.entries else Html(""),
            note="Self-training only: sampling and training from round 0 on, without evaluations. FLOPs by "
            "formula: 6 × parameters per trained token and 2 × parameters per sampled one; padding counts "
            "every position computed. Trials shared with another run count as if sampled here.",
            anchor="work",
        ),
        section("By level", *[_level_table(comparison, s) for s in sets], anchor="levels"),
        section(
            "Level shares of the training data",
            cards([_shares_figure(comparison)]),
            note="Of the last round; entries whose method estimates levels, by its own estimate. "
            + cut_points(comparison),
            anchor="shares",
        ),
        section("Settings", _settings(comparison), anchor="settings"),
    ]
    title = f"{comparison.name} · dast_jax comparison"
    return page(title, _header(comparison), body, f"Written by dast_jax {__version__}.")


# --- top ----------------------------------------------------------------------------------------------


def _header(comparison: Comparison) -> Html:
    facts = {
        "status": comparison.status,
        "entries": len(comparison.entries),
        "seeds": ", ".join(map(str, comparison.seeds)),
        "model": comparison.model.rsplit("/", 1)[-1],
        "parameters": number(comparison.parameters) if comparison.parameters else "",
        "device": comparison.device,
    }
    sentences = [("", _sentence(comparison, s)) for s in comparison.sets]
    return Html(
        head(f"{comparison.name}: methods compared", facts, sentences)
        + "".join(map(paragraph, findings(comparison)))
        + (paragraph(TIED, "note") if comparison.best else "")
        + notice("Missing", [f"{m.label}, seed {m.seed}: {m.why}" for m in comparison.missing])
    )


def _sentence(comparison: Comparison, name: str) -> str:
    """Return the best entry of a set, and whether its lead over the strongest baseline is significant."""
    finals = {
        label: cell.accuracy
        for label, entry in comparison.entries.items()
        if (cell := _final(entry, name)) and cell.accuracy is not None
    }
    if not finals:
        return f"{name}: nothing has been evaluated yet."
    best = max(finals, key=finals.__getitem__)
    reached = _with_length(_final(comparison.entries[best], name))
    lead = f"{name}: highest after the last round is {best} with {reached}"
    base = comparison.base[name]
    lead += f", from {_with_length(base)}" if base.accuracy is not None else ""
    others = [b for b in comparison.baselines if b in finals and b != best]
    strongest = max(others, key=finals.__getitem__, default=None)
    found = _difference_of(comparison.differences, strongest, best, name) if strongest else None
    if found is None:
        return lead + "."
    low, high = map(signed_points, found.interval)
    clear = "" if found.interval[0] > 0 else ", not statistically significant"
    return (
        f"{lead}; {signed_points(found.difference)} points over {strongest}, the strongest baseline "
        f"(95\u202f% interval {low} to {high}{clear})."
    )


def _interval_note(comparison: Comparison) -> str:
    seeds = len(comparison.seeds)
    return "After the last round. " + (
        f"Means of {seeds} seeds; error bars and brackets are 95\u202f% Student's t intervals over seeds."
        if seeds > 1
        else "One seed; error bars and brackets are 95\u202f% intervals over questions."
    )


# --- accuracy -----------------------------------------------------------------------------------------


def _bars_figure(comparison: Comparison, name: str) -> Html:
    found = {label: _shown(_final(entry, name)) for label, entry in comparison.entries.items()}
    cells = {label: cell for label, cell in found.items() if cell}
    if not cells:
        return Html("")
    bars = Bars(
        label="accuracy",
        color="var(--r0)",
        y=[cell.accuracy for cell in cells.values()],
        low=[cell.interval[0] for cell in cells.values()],
        high=[cell.interval[1] for cell in cells.values()],
    )
    chart = grouped_bars(list(cells), [bars], title=f"Accuracy on {name} by entry", group_name="entry")
    return figure(f"{name}: accuracy after the last round", chart)


def _rounds_figure(comparison: Comparison, name: str) -> Html:
    base = comparison.base[name].accuracy
    lines, last = [], -1
    for i, (label, entry) in enumerate(comparison.entries.items()):
        points = [(-1.0, base), *((float(r.round), a) for r, a in _points(entry, name))]
        last = max(last, int(points[-1][0]))
        lines.append(_line(label, i, points))
    ticks = [(-1.0, "base"), *((float(r), str(r)) for r in range(last + 1))]
    chart = line_chart(lines, title=f"Accuracy on {name} by round", ticks=ticks, x_name="round")
    return figure(f"{name}: accuracy by round", chart if lines else None)


def _accuracy_table(comparison: Comparison) -> Html:
    sets = comparison.sets
    rows: list[list[object]] = [["entry", "method", "seeds", *sets]]
    rows.append(["base", "", "", *(_cell(comparison.base[s]) for s in sets)])
    for label, entry in comparison.entries.items():
        cells = [_cell(_final(entry, s)) for s in sets]
        rows.append([label, entry.method["name"], len(entry.seeds), *cells])
    return table(rows, caption="With the mean length of a response in tokens, over seeds.")


def _level_table(comparison: Comparison, name: str) -> Html:
    base = comparison.base[name].by_level
    if not base:
        return Html("")
    rows: list[list[object]] = [["entry", *(f"level {level}" for level in base)]]
    rows.append(["base", *map(_cell, base.values())])
    for label, entry in comparison.entries.items():
        final = _final(entry, name)
        by_level = final.by_level if final else {}
        rows.append([label, *(_cell(by_level.get(level)) for level in base)])
    caption = f"{name}: accuracy after the last round, and mean length of a response"
    return card(table(rows, caption=caption))


# --- differences --------------------------------------------------------------------------------------


def _difference_tables(comparison: Comparison, name: str) -> Html:
    parts = [
        _difference_table(comparison, comparison.differences, name, "after the last round"),
        _difference_table(comparison, comparison.matched, name, "at matched training tokens"),
    ]
    return Html("".join(cards([part], wide=True) for part in parts))


def _difference_table(comparison: Comparison, found: Differences, name: str, when: str) -> Html:
    rows: list[list[object]] = [["entry", *(f"− {b}" for b in comparison.baselines)]]
    for label in comparison.entries:
        differences = [_difference_of(found, b, label, name) for b in comparison.baselines]
        if any(differences):
            rows.append([label, *map(_difference, differences)])
    return card(table(rows, caption=f"{name}, {when}")) if len(rows) > 1 else Html("")


def _difference(found: SeedDifference | None) -> Html:
    cell = difference_cell(found)
    if isinstance(found, MatchedDifference):
        mine, theirs = map(number, found.trained_tokens)
        cell = Html(f"{cell} <small>{mine} : {theirs} tokens</small>")
    return cell


Differences = Mapping[str, Mapping[str, Mapping[str, SeedDifference]]]


def _difference_of(found: Differences, baseline: str, label: str, name: str) -> SeedDifference | None:
    by_set = found[baseline].get(label)
    return by_set.get(name) if by_set else None


# --- work ---------------------------------------------------------------------------------------------


def _work_table(comparison: Comparison) -> Html:
    targets = comparison.targets
    heads = [f"{s} to {percent(t.accuracy)} ({t.baseline})" for s, t in targets.items()]
    top = ["entry", "trained tokens", "sampled tokens", "FLOPs, useful", "padded", *heads, "seconds"]
    rows: list[list[object]] = [list(top)]
    for label, entry in comparison.entries.items():
        if entry.last is None:
            continue
        work = entry.last.cumulative
        reached = [comparison.to_target[s][label] for s in targets]
        rows.append(
            [
                label,
                number(work.trained_tokens),
                number(work.sampled_tokens),
                number(work.flops.useful),
                number(work.flops.padded),
                *(f"{number(r.flops.useful)}, round {r.round}" if r else "not reached" for r in reached),
                f"{entry.seconds:.0f}",
            ]
        )
    caption = "Useful FLOPs to the strongest baseline's best accuracy: by the first round that reaches it."
    return table(rows, caption=caption if targets else "")


def _flops_figure(comparison: Comparison) -> Html:
    found = {label: entry for label, entry in comparison.entries.items() if entry.rounds}
    if not found:
        return Html("")
    sampling = [sum(r.flops.sample.useful for r in e.rounds if r.flops.sample) for e in found.values()]
    training = [sum(r.flops.train.useful for r in e.rounds if r.flops.train) for e in found.values()]
    padded = [entry.last.cumulative.flops.padded for entry in found.values() if entry.last]
    padding = [max(p - s - t, 0) for p, s, t in zip(padded, sampling, training, strict=True)]
    segments = [
        Segments(label="sampling", color="var(--r0)", values=sampling),
        Segments(label="training", color="var(--r1)", values=training),
        Segments(label="padding", color="var(--base)", values=padding),
    ]
    chart = stacked_bars(list(found), segments, title="FLOPs by entry", totals=True, form=number)
    return figure("Total FLOPs by entry", chart)


def _curve_figure(comparison: Comparison, name: str) -> Html:
    """Accuracy over cumulative useful FLOPs."""
    base = comparison.base[name].accuracy
    lines = []
    for i, (label, entry) in enumerate(comparison.entries.items()):
        spent = [(r.cumulative.flops.useful, a) for r, a in _points(entry, name)]
        lines.append(_line(label, i, [(0.0, base), *spent]))
    most = max((x for line in lines for x in line.x), default=0.0)
    if not most:
        return Html("")
    ticks = [(most * k / 4, number(most * k / 4)) for k in range(5)]
    chart = line_chart(
        lines, title=f"Accuracy on {name} over FLOPs", ticks=ticks, x_name="useful FLOPs so far"
    )
    rows = [["entry", *(f"point {k}" for k in range(max(len(line.x) for line in lines)))]]
    for line in lines:
        cells = [f"{percent(y)} at {number(x)}" for x, y in zip(line.x, line.y, strict=True) if y is not None]
        rows.append([line.label, *cells, *["–"] * (len(rows[0]) - 1 - len(cells))])
    return figure(f"{name}: accuracy over work", dataclasses.replace(chart, table=rows))


def _shares_figure(comparison: Comparison) -> Html:
    rows: list[str] = []
    columns: list[Mapping[str, float]] = []
    for label, entry in comparison.entries.items():
        shares = entry.last.level_shares if entry.last else None
        if not shares:
            continue
        if not rows:
            rows.append("queries")
            columns.append(shares.before)
        rows.append(label)
        columns.append(shares.after)
    if not rows:
        return Html("")
    segments = [
        Segments(label=level, color=color, ink=ink, values=[c.get(level, 0.0) for c in columns])
        for level, (color, ink) in zip(LEVELS, _LEVEL_COLORS, strict=True)
    ]
    title = "Level shares of the last round's training data"
    chart = stacked_bars(rows, segments, title=title, form=lambda v: f"{100 * v:.0f}\u202f%")
    return figure(title, chart)


def _settings(comparison: Comparison) -> Html:
    rows: list[list[object]] = [["entry", "method and its options"]]
    for label, entry in comparison.entries.items():
        options = ", ".join(f"{k}={v}" for k, v in entry.method.items())
        rows.append([label, Html(f'<span style="white-space:normal">{text(options)}</span>')])
    versions = ", ".join(f"{k} {v}" for k, v in comparison.versions.items())
    return card(details("Options of the methods", table(rows)), paragraph(versions, "note"))


# --- small things -------------------------------------------------------------------------------------


def _final(entry: ComparedEntry, name: str) -> SetAccuracy | None:
    return entry.last.evaluation.get(name) if entry.last else None


def _cell(cell: SeedAccuracy | None) -> Html:
    return accuracy_cell(_shown(cell), cell.mean_length if cell else None)


def _with_length(cell: SetAccuracy | None) -> str:
    if cell is None or cell.accuracy is None:
        return "–"
    return f"{percent(cell.accuracy)} ({tokens(cell.mean_length)} tokens a response)"


def _shown(cell: SeedAccuracy | None) -> Accuracy | None:
    """Return the accuracy with the interval over seeds or, of one seed, over questions."""
    if cell is None or cell.accuracy is None:
        return None
    interval = cell.interval or cell.interval_questions or (cell.accuracy, cell.accuracy)
    return Accuracy(accuracy=cell.accuracy, interval=interval, n=cell.n)


def _points(entry: ComparedEntry, name: str) -> list[tuple[ComparedRound, float]]:
    found = [(r, r.accuracy(name)) for r in entry.rounds]
    return [(r, accuracy) for r, accuracy in found if accuracy is not None]


def _line(label: str, index: int, points: Sequence[tuple[float, float | None]]) -> Line:
    return Line(label=label, color=run_color(index), x=[x for x, _ in points], y=[y for _, y in points])
