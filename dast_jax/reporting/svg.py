"""Charts as SVG text, drawn for a phone's width and scaled by the page; colors are CSS variables.

Every chart carries its numbers three times: as marks, as tooltips (`<title>`) and as a table, so that
nobody needs color, or a mouse, to read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

from dast_jax.reporting.markup import text
from dast_jax.reporting.numbers import percent

__all__ = [
    "Bars",
    "Chart",
    "Key",
    "Line",
    "Segments",
    "grouped_bars",
    "line_chart",
    "stacked_bars",
]

Value = float | None
Format = Callable[[float], str]

_WIDTH = 380
_LEFT, _RIGHT, _TOP = 46, 10, 10
_CHARACTER = 6.4
"""Width of an average character at the charts' font size of 12, for layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series: `y[i]` at `x[i]`, with an interval band where `low` and `high` are given."""

    label: str
    color: str
    x: Sequence[float]
    y: Sequence[Value]
    low: Sequence[Value] = ()
    high: Sequence[Value] = ()
    markers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One series of a grouped bar chart: `y[i]` in group i, with error bars where `low`/`high` are given."""

    label: str
    color: str
    y: Sequence[Value]
    low: Sequence[Value] = ()
    high: Sequence[Value] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """One series of a stacked bar chart: `values[i]` is its part of row i; `ink` its text color."""

    label: str
    color: str
    values: Sequence[Value]
    ink: str = "var(--card)"


class Key(NamedTuple):
    """The look of a label in a chart: a color and, for lines with a pattern, its `stroke-dasharray`."""

    label: str
    color: str
    dashes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """An SVG, its legend, and the same numbers as a table (first row the header).

    `numbers` are they in full, one row for each: where, series, value, low, high; first row the header.
    """

    svg: str
    legend: Sequence[Key]
    table: Sequence[Sequence[str]]
    numbers: Sequence[Sequence[str | Value]] = ()


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    ticks: Sequence[tuple[float, str]],
    x_name: str,
    form: Format = percent,
    from_zero: bool = False,
    height: int = 230,
) -> Chart:
    """Lines with interval bands over the x positions named by `ticks`."""
    bottom = 40
    ys = _finite([v for line in lines for v in (*line.y, *line.low, *line.high)])
    y_ticks = _nice_ticks(0.0 if from_zero or not ys else min(ys), max(ys, default=1.0))
    frame = _Frame(height - bottom, (y_ticks[0], y_ticks[-1]))
    x_low, x_high = ticks[0][0], ticks[-1][0]
    inset = 14 if len(ticks) <= 12 else 4
    span = _WIDTH - _LEFT - _RIGHT - 2 * inset

    def x_at(x: float) -> float:
        return _LEFT + inset + (span * (x - x_low) / (x_high - x_low) if x_high > x_low else span / 2)

    parts = [frame.grid(y_ticks, form)]
    for x, name in ticks:
        parts.append(_text(x_at(x), height - bottom + 16, name, "middle"))
    parts.append(_text(_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, height - 6, x_name, "middle", "axis"))
    for i, line in enumerate(lines):
        parts += _draw_line(line, x_at, frame.y, form, x_name, names=dict(ticks), dashes=_dashes(line, i))
    table = [[x_name, *(line.label for line in lines)]]
    for x, name in ticks:
        table.append([name, *(_cell(line, _index(line.x, x), form) for line in lines)])
    return Chart(
        svg=_svg(height, title, parts),
        legend=[Key(line.label, line.color, _dashes(line, i)) for i, line in enumerate(lines)]
        if len(lines) > 1
        else [],
        table=table,
        numbers=_numbers(x_name, [(line, [dict(ticks).get(x, f"{x:g}") for x in line.x]) for line in lines]),
    )


def grouped_bars(
    groups: Sequence[str],
    series: Sequence[Bars],
    *,
    title: str,
    group_name: str,
    form: Format = percent,
    height: int = 230,
) -> Chart:
    """Bars side by side in each group, from zero, with error bars."""
    slot = (_WIDTH - _LEFT - _RIGHT) / max(len(groups), 1)
    slanted = max((len(g) for g in groups), default=0) * _CHARACTER > slot - 4
    bottom = 40 if not slanted else 30 + min(60, int(4.2 * max(len(g) for g in groups)))
    ys = _finite([v for s in series for v in (*s.y, *s.high)])
    y_ticks = _nice_ticks(0.0, max(ys, default=1.0))
    frame = _Frame(height - bottom, (y_ticks[0], y_ticks[-1]))
    parts = [frame.grid(y_ticks, form)]
    width = min(30.0, slot * 0.8 / max(len(series), 1))
    for g, group in enumerate(groups):
        middle = _LEFT + slot * (g + 0.5)
        parts.append(
            _text(
                middle,
                height - bottom + 16,
                _clip(group, 16),
                "end" if slanted else "middle",
                turn=-35 if slanted else 0,
            )
        )
        for s, bars in enumerate(series):
            x = middle + width * (s - len(series) / 2)
            parts.append(_draw_bar(bars, g, x, width, frame, f"{bars.label}, {group_name} {group}", form))
    parts.append(_text(_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, height - 6, group_name, "middle", "axis"))
    table = [[group_name, *(s.label for s in series)]]
    table += [[group, *(_cell(s, g, form) for s in series)] for g, group in enumerate(groups)]
    return Chart(
        svg=_svg(height, title, parts),
        legend=[Key(s.label, s.color) for s in series] if len(series) > 1 else [],
        table=table,
        numbers=_numbers(group_name, [(s, groups) for s in series]),
    )


def stacked_bars(
    rows: Sequence[str],
    segments: Sequence[Segments],
    *,
    title: str,
    form: Format = percent,
    row_name: str = "",
    totals: bool = False,
) -> Chart:
    """Horizontal bars, one a row, all to one scale; with `totals` each row's sum stands behind it."""
    left = min(130, 12 + int(max((len(r) for r in rows), default=0) * _CHARACTER))
    right = 62 if totals else 10
    sums = [sum(_finite([s.values[i] for s in segments])) for i in range(len(rows))]
    scale = (_WIDTH - left - right) / (max(sums, default=0) or 1)
    thickness, step = 20, 27
    height = step * len(rows) + 6
    parts = []
    for i, row in enumerate(rows):
        top = 4 + step * i
        parts.append(_text(left - 8, top + 14, row, "end"))
        x = float(left)
        for segment in segments:
            value = segment.values[i] or 0.0
            width = value * scale
            if width <= 0:
                continue
            tip = f"{row}, {segment.label}: {form(value)}"
            parts.append(
                f'<rect x="{x:.1f}" y="{top}" width="{max(width - 1, 0.4):.1f}" height="{thickness}" rx="2" '
                f'style="fill:{segment.color}"><title>{text(tip)}</title></rect>'
            )
            inside = form(value)
            if len(inside) * _CHARACTER < width - 4:
                label = _text(x + (width - 1) / 2, top + 14, inside, "middle", "inside")
                parts.append(label.replace("<text ", f'<text style="fill:{segment.ink}" ', 1))
            x += width
        if totals:
            parts.append(_text(x + 6, top + 14, form(sums[i]), "start"))
    table = [[row_name, *(s.label for s in segments), *(["total"] if totals else [])]]
    for i, row in enumerate(rows):
        cells = [form(s.values[i] or 0.0) for s in segments]
        table.append([row, *cells, *([form(sums[i])] if totals else [])])
    return Chart(
        svg=_svg(height, title, parts),
        legend=[Key(s.label, s.color) for s in segments],
        table=table,
        numbers=_numbers(row_name or "row", [(s, rows) for s in segments]),
    )


def _numbers(
    where: str, series: Sequence[tuple[Line | Bars | Segments, Sequence[str]]]
) -> list[list[str | Value]]:
    """Return a row for each value of each series, whose places are named beside it."""
    rows: list[list[str | Value]] = [[where, "series", "value", "low", "high"]]
    for one, places in series:
        values = one.values if isinstance(one, Segments) else one.y
        low = [] if isinstance(one, Segments) else one.low
        high = [] if isinstance(one, Segments) else one.high
        for i, (place, value) in enumerate(zip(places, values, strict=True)):
            rows.append([place, one.label, value, low[i] if low else None, high[i] if high else None])
    return rows


@dataclass(frozen=True, slots=True)
class _Frame:
    floor: float
    domain: tuple[float, float]

    def y(self, value: float) -> float:
        low, high = self.domain
        return self.floor - (self.floor - _TOP) * (value - low) / (high - low)

    def grid(self, ticks: Sequence[float], form: Format) -> str:
        parts = []
        for tick in ticks:
            y = self.y(tick)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(_text(_LEFT - 6, y + 4, _tick(tick, ticks, form), "end"))
        return "".join(parts)


def _tick(value: float, ticks: Sequence[float], form: Format) -> str:
    if form is percent:
        step = 100 * (ticks[1] - ticks[0])
        return f"{100 * value:.0f}\u202f%" if step >= 0.999 else f"{100 * value:.1f}\u202f%"
    return form(value)


def _dashes(line: Line, index: int) -> str:
    """Return the pattern of a line by its number: with six colors in turn, 24 lines differ in one of both."""
    return ("", "7 3", "2 3", "9 3 2 3")[(index + index // 12) % 4] if line.markers else ""


def _draw_line(
    line: Line,
    x_at: Callable[[float], float],
    y_at: Callable[[float], float],
    form: Format,
    x_name: str,
    *,
    names: dict[float, str],
    dashes: str,
) -> list[str]:
    points = [(i, x_at(x), y_at(y)) for i, (x, y) in enumerate(zip(line.x, line.y, strict=True)) if _ok(y)]
    parts = []
    if line.low and line.high:
        band = [
            (x_at(x), y_at(low), y_at(high))
            for x, low, high in zip(line.x, line.low, line.high, strict=True)
            if low is not None and high is not None
        ]
        outline = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
        if len(band) == 1:
            x, low, high = band[0]
            outline = [(x - 6, low), (x + 6, low), (x + 6, high), (x - 6, high)]
        points_text = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
        parts.append(f'<polygon class="band" style="fill:{line.color}" points="{points_text}"/>')
    path = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in points)
    dash_style = f";stroke-dasharray:{dashes}" if dashes else ""
    parts.append(f'<polyline class="line" style="stroke:{line.color}{dash_style}" points="{path}"/>')
    if line.markers:
        for i, x, y in points:
            at = names.get(line.x[i], f"{line.x[i]:g}")
            tip = f"{line.label}, {x_name} {at}: {_cell(line, i, form)}"
            parts.append(
                f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill:{line.color}">'
                f"<title>{text(tip)}</title></circle>"
            )
    return parts


def _draw_bar(bars: Bars, index: int, x: float, width: float, frame: _Frame, name: str, form: Format) -> str:
    value = bars.y[index]
    if not _ok(value):
        return ""
    top = frame.y(value)
    low = bars.low[index] if bars.low else None
    high = bars.high[index] if bars.high else None
    parts = [
        f"<g><title>{text(f'{name}: {_cell(bars, index, form)}')}</title>"
        f'<rect x="{x + 0.5:.1f}" y="{top:.1f}" width="{max(width - 1, 1):.1f}" '
        f'height="{max(frame.floor - top, 0.5):.1f}" rx="1.5" style="fill:{bars.color}"/>'
    ]
    if low is not None and high is not None:
        middle, cap = x + width / 2, min(4.0, width / 4)
        a, b = frame.y(low), frame.y(high)
        parts.append(
            f'<path class="error" d="M{middle:.1f} {a:.1f}V{b:.1f}M{middle - cap:.1f} {a:.1f}h{2 * cap:.1f}'
            f'M{middle - cap:.1f} {b:.1f}h{2 * cap:.1f}"/>'
        )
    return "".join([*parts, "</g>"])


def _cell(series: Line | Bars, index: int | None, form: Format) -> str:
    value = series.y[index] if index is not None else None
    if index is None or not _ok(value):
        return "–"
    low = series.low[index] if series.low else None
    high = series.high[index] if series.high else None
    if low is None or high is None:
        return form(value)
    return f"{form(value)} [{form(low)}, {form(high)}]"


def _index(xs: Sequence[float], x: float) -> int | None:
    return next((i for i, other in enumerate(xs) if other == x), None)


def _ok(value: Value) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _finite(values: Sequence[Value]) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def _nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers that span [low, high]."""
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(x: float, y: float, words: str, anchor: str, kind: str = "", turn: int = 0) -> str:
    css = f' class="{kind}"' if kind else ""
    rotate = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}{rotate}>{text(words)}</text>'


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{text(title)}">'
        + "".join(parts)
        + "</svg>"
    )
