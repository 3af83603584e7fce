"""The page of a study, `comparison.html`: accuracy, work, differences and level shares of its entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dast_jax.records import LEVELS
from dast_jax.reporting.headline import accuracy_cell, difference_cell
from dast_jax.reporting.layout import run_colour
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.page import card, cards, details, figure, page, section, table
from dast_jax.reporting.svg import (
    Bars,
    Line,
    Segments,
    grouped_bars,
    line_chart,
    number,
    percent,
    stacked_bars,
)

__all__ = ["render_comparison"]

Comparison = Mapping[str, Any]

_LEVEL_COLOURS = [(f"var(--l{i})", f"var(--k{i})") for i in range(len(LEVELS))]


def render_comparison(comparison: Comparison) -> str:
    """`comparison.json`'s content as one self-contained HTML page."""
    from dast_jax.version import __version__

    sets = comparison["sets"]
    body = [
        section(
            "Accuracy",
            cards([draw(comparison, s) for s in sets for draw in (_bars_figure, _rounds_figure)]),
            card(_accuracy_table(comparison)) if comparison["entries"] else Html(""),
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
            card(_work_table(comparison)) if comparison["entries"] else Html(""),
            note="Self-training's own: sampling and training from round 0 on, evaluations left out. FLOPs by "
            "formula: 6 × parameters per trained token and 2 × parameters per sampled one; padding counts "
            "every position computed. Trials shared with another run count as if they had been made.",
            anchor="work",
        ),
        section("By level", *[_level_table(comparison, s) for s in sets], anchor="levels"),
        section(
            "Level shares of the training data",
            cards([_shares_figure(comparison)]),
            note="Of the last round; entries whose method estimates levels, by its own estimate.",
            anchor="shares",
        ),
        section("Settings", _settings(comparison), anchor="settings"),
    ]
    title = f"{comparison['name']} · dast_jax comparison"
    return page(title, _header(comparison), body, f"Written by dast_jax {__version__}.")


# --- top ----------------------------------------------------------------------------------------------


def _header(comparison: Comparison) -> Html:
    facts = {
        "status": comparison["status"],
        "entries": len(comparison["entries"]),
        "seeds": ", ".join(map(str, comparison["seeds"])),
        "model": str(comparison.get("model") or "").rsplit("/", 1)[-1],
        "parameters": number(comparison["parameters"]) if comparison.get("parameters") else "",
        "device": comparison.get("device"),
    }
    chips = "".join(f"<li>{text(k)} <b>{text(v)}</b></li>" for k, v in facts.items() if v not in (None, ""))
    lines = [f"{m['label']}, seed {m['seed']}: {m['why']}" for m in comparison["missing"]]
    lacks = "".join(f"<li>{text(line)}</li>" for line in lines)
    warning = f'<div class="warnings" role="note"><b>Missing</b><ul>{lacks}</ul></div>' if lacks else ""
    return Html(
        f'<h1>{text(comparison["name"])}: methods compared</h1><ul class="chips">{chips}</ul>'
        + "".join(f'<p class="lede">{text(_sentence(comparison, s))}</p>' for s in comparison["sets"])
        + warning
    )


def _sentence(comparison: Comparison, name: str) -> str:
    """The best entry of a set, and what of its lead over the strongest baseline is beyond doubt."""
    finals = {
        label: cell["accuracy"]
        for label, entry in comparison["entries"].items()
        if (cell := _final(entry, name)) and cell["accuracy"] is not None
    }
    if not finals:
        return f"{name}: nothing has been evaluated yet."
    best = max(finals, key=finals.__getitem__)
    base = comparison["base"][name]["accuracy"]
    said = (
        f"{name}: highest after the last round is {best} with {percent(finals[best])}, from {percent(base)}"
    )
    others = [b for b in comparison["baselines"] if b in finals and b != best]
    if not others:
        return said + "."
    strongest = max(others, key=finals.__getitem__)
    found = comparison["differences"].get(strongest, {}).get(best, {}).get(name)
    if found is None:
        return said + "."
    low, high = (f"{100 * v:+.1f}" for v in found["interval"])
    clear = "" if found["interval"][0] > 0 else ", no clear lead"
    return (
        f"{said}; {100 * found['difference']:+.1f} points over {strongest}, the strongest baseline "
        f"(95\u202f% interval {low} to {high}{clear})."
    )


def _interval_note(comparison: Comparison) -> str:
    seeds = len(comparison["seeds"])
    return "After the last round. " + (
        f"Means of {seeds} seeds; error bars and brackets are 95\u202f% Student's t intervals over seeds."
        if seeds > 1
        else "One seed; error bars and brackets are 95\u202f% intervals over questions."
    )


# --- accuracy -----------------------------------------------------------------------------------------


def _bars_figure(comparison: Comparison, name: str) -> Html:
    found = {label: _final(entry, name) for label, entry in comparison["entries"].items()}
    cells = {label: _shown(cell) for label, cell in found.items() if cell}
    if not cells:
        return Html("")
    bars = Bars(
        label="accuracy",
        colour="var(--r0)",
        y=[cell["accuracy"] for cell in cells.values()],
        low=[cell["interval"][0] for cell in cells.values()],
        high=[cell["interval"][1] for cell in cells.values()],
    )
    chart = grouped_bars(list(cells), [bars], title=f"Accuracy on {name} by entry", group_name="entry")
    return figure(f"{name}: accuracy after the last round", chart)


def _rounds_figure(comparison: Comparison, name: str) -> Html:
    base = comparison["base"][name]["accuracy"]
    lines, last = [], -1
    for i, (label, entry) in enumerate(comparison["entries"].items()):
        points = [(-1.0, base), *((float(r["round"]), a) for r, a in _points(entry, name))]
        last = max(last, int(points[-1][0]))
        lines.append(_line(label, i, points))
    ticks = [(-1.0, "base"), *((float(r), str(r)) for r in range(last + 1))]
    chart = line_chart(lines, title=f"Accuracy on {name} by round", ticks=ticks, x_name="round")
    return figure(f"{name}: accuracy by round", chart if lines else None)


def _accuracy_table(comparison: Comparison) -> Html:
    sets = comparison["sets"]
    rows: list[list[object]] = [["entry", "method", "seeds", *sets]]
    rows.append(["base", "", "", *(accuracy_cell(_shown(comparison["base"][s])) for s in sets)])
    for label, entry in comparison["entries"].items():
        cells = [accuracy_cell(_shown(_final(entry, s))) for s in sets]
        rows.append([label, (entry["method"] or {}).get("name", "–"), len(entry["seeds"]), *cells])
    return table(rows)


def _level_table(comparison: Comparison, name: str) -> Html:
    base = comparison["base"][name]["by_level"]
    if not base:
        return Html("")
    rows: list[list[object]] = [["entry", *(f"level {level}" for level in base)]]
    rows.append(["base", *(accuracy_cell(_shown(cell)) for cell in base.values())])
    for label, entry in comparison["entries"].items():
        by_level = (_final(entry, name) or {}).get("by_level") or {}
        rows.append([label, *(accuracy_cell(_shown(by_level.get(level))) for level in base)])
    return card(table(rows, caption=f"{name}: accuracy after the last round"))


# --- differences --------------------------------------------------------------------------------------


def _difference_tables(comparison: Comparison, name: str) -> Html:
    baselines = comparison["baselines"]
    parts = []
    for key, title in (("differences", "after the last round"), ("matched", "at matched training tokens")):
        rows: list[list[object]] = [["entry", *(f"− {b}" for b in baselines)]]
        for label in comparison["entries"]:
            found = [comparison[key].get(b, {}).get(label, {}).get(name) for b in baselines]
            if any(found):
                rows.append([label, *map(_difference, found)])
        if len(rows) > 1:
            parts.append(card(table(rows, caption=f"{name}, {title}")))
    return Html("".join(cards([part], wide=True) for part in parts))


def _difference(found: Mapping[str, Any] | None) -> Html:
    cell = difference_cell(found)
    if found and "trained_tokens" in found:
        mine, theirs = map(number, found["trained_tokens"])
        cell = Html(f"{cell} <small>{mine} : {theirs} tokens</small>")
    return cell


# --- work ---------------------------------------------------------------------------------------------


def _work_table(comparison: Comparison) -> Html:
    targets = comparison["targets"]
    heads = [f"{s} to {percent(t['accuracy'])} ({t['baseline']})" for s, t in targets.items()]
    top = ["entry", "trained tokens", "sampled tokens", "FLOPs, useful", "padded", *heads, "seconds"]
    rows: list[list[object]] = [list(top)]
    for label, entry in comparison["entries"].items():
        if not entry["rounds"]:
            continue
        work = entry["rounds"][-1]["cumulative"]
        flops = work["flops"]
        reached = [comparison["to_target"][s][label] for s in targets]
        rows.append(
            [
                label,
                number(work["trained_tokens"]),
                number(work["sampled_tokens"]),
                number(flops["useful"]),
                number(flops["padded"]),
                *(
                    f"{number(r['flops']['useful'])}, round {r['round']}" if r else "not reached"
                    for r in reached
                ),
                f"{entry['seconds']:.0f}",
            ]
        )
    caption = "Useful FLOPs to the strongest baseline's best accuracy: by the first round that reaches it."
    return table(rows, caption=caption if targets else "")


def _flops_figure(comparison: Comparison) -> Html:
    totals = {label: e["rounds"][-1]["flops"] for label, e in comparison["entries"].items() if e["rounds"]}
    if not totals:
        return Html("")
    spent = {
        label: {
            stage: sum((r["flops"].get(stage) or {}).get("useful") or 0 for r in entry["rounds"])
            for stage in ("sample", "train")
        }
        for label, entry in comparison["entries"].items()
        if label in totals
    }
    padded = [comparison["entries"][label]["rounds"][-1]["cumulative"]["flops"]["padded"] for label in spent]
    padding = [max(p - sum(s.values()), 0) for p, s in zip(padded, spent.values(), strict=True)]
    segments = [
        Segments(label="sampling", colour="var(--r0)", values=[s["sample"] for s in spent.values()]),
        Segments(label="training", colour="var(--r1)", values=[s["train"] for s in spent.values()]),
        Segments(label="padding", colour="var(--base)", values=padding),
    ]
    chart = stacked_bars(list(spent), segments, title="FLOPs by entry", totals=True, form=number)
    return figure("FLOPs in all, by entry", chart)


def _curve_figure(comparison: Comparison, name: str) -> Html:
    """Accuracy over cumulative useful FLOPs."""
    base = comparison["base"][name]["accuracy"]
    lines = []
    for i, (label, entry) in enumerate(comparison["entries"].items()):
        spent = [(r["cumulative"]["flops"]["useful"], a) for r, a in _points(entry, name)]
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
    return figure(f"{name}: accuracy over work", type(chart)(svg=chart.svg, legend=chart.legend, table=rows))


def _shares_figure(comparison: Comparison) -> Html:
    rows: list[str] = []
    columns: list[Mapping[str, float]] = []
    for label, entry in comparison["entries"].items():
        shares = entry["rounds"][-1]["level_shares"] if entry["rounds"] else None
        if not shares:
            continue
        if not rows:
            rows.append("queries")
            columns.append(shares["before"])
        rows.append(label)
        columns.append(shares["after"])
    if not rows:
        return Html("")
    segments = [
        Segments(label=level, colour=colour, ink=ink, values=[c.get(level) or 0.0 for c in columns])
        for level, (colour, ink) in zip(LEVELS, _LEVEL_COLOURS, strict=True)
    ]
    title = "Level shares of the last round's training data"
    chart = stacked_bars(rows, segments, title=title, form=lambda v: f"{100 * v:.0f}\u202f%")
    return figure(title, chart)


def _settings(comparison: Comparison) -> Html:
    rows: list[list[object]] = [["entry", "method and its options"]]
    for label, entry in comparison["entries"].items():
        options = ", ".join(f"{k}={v}" for k, v in (entry["method"] or {}).items())
        rows.append([label, Html(f'<span style="white-space:normal">{text(options)}</span>')])
    versions = ", ".join(f"{k} {v}" for k, v in (comparison.get("versions") or {}).items())
    return card(details("Options of the methods", table(rows)), Html(f'<p class="note">{text(versions)}</p>'))


# --- small things -------------------------------------------------------------------------------------


def _final(entry: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return entry["rounds"][-1]["evaluation"].get(name) if entry["rounds"] else None


def _shown(cell: Mapping[str, Any] | None) -> dict[str, Any]:
    """With the interval over seeds or, of one seed, over questions."""
    if not cell:
        return {}
    return {**cell, "interval": cell["interval"] or cell["interval_questions"] or [cell["accuracy"]] * 2}


def _points(entry: Mapping[str, Any], name: str) -> list[tuple[Mapping[str, Any], float]]:
    found = [(r, (r["evaluation"].get(name) or {}).get("accuracy")) for r in entry["rounds"]]
    return [(r, accuracy) for r, accuracy in found if accuracy is not None]


def _line(label: str, index: int, points: Sequence[tuple[float, float | None]]) -> Line:
    return Line(label=label, colour=run_colour(index), x=[x for x, _ in points], y=[y for _, y in points])
