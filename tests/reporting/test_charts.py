"""Charts: ticks, places, sizes, numbers; many lines can be distinguished, and the legend shows how."""

import re

import pytest

from dast_jax.reporting import svg
from dast_jax.reporting.layout import run_color
from dast_jax.reporting.numbers import number
from dast_jax.reporting.page import figure


def test_every_line_of_a_study_has_its_own_look_and_the_legend_shows_it():
    lines = [
        svg.Line(label=f"entry {i}", color=run_color(i), x=[0, 1], y=[0.1, 0.2], low=[], high=[])
        for i in range(24)
    ]
    chart = svg.line_chart(lines, title="t", ticks=[(0, "0"), (1, "1")], x_name="round")
    looks = [(key.color, key.dashes) for key in chart.legend]
    assert len(set(looks)) == 24
    shown = figure("t", chart)
    for (color, dashes), line in zip(looks, lines, strict=True):
        style = f"stroke:{color}" + (f";stroke-dasharray:{dashes}" if dashes else "")
        assert f'<polyline class="line" style="{style}"' in chart.svg
        assert line.label in shown
    assert shown.count('<svg class="key"') == sum(dashes != "" for _, dashes in looks)


def test_ticks_span_the_data_with_round_numbers():
    assert svg._nice_ticks(0.0, 0.93) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    for low, high in ((0.41, 0.58), (0, 1e12), (3.0, 3.0), (0, 0), (-0.2, 0.1), (1e-9, 2e-9)):
        ticks = svg._nice_ticks(low, high)
        assert ticks[0] <= low + 1e-12
        assert ticks[-1] >= high - 1e-12 * max(1, high)
        assert 2 <= len(ticks) <= 9


def test_line_chart_places_points_and_leaves_gaps():
    line = svg.Line(
        label="a", color="c", x=[0, 1, 2], y=[0.0, None, 1.0], low=[0.0, None, 0.9], high=[0.1, None, 1.0]
    )
    chart = svg.line_chart([line], title="t", ticks=[(0, "0"), (1, "1"), (2, "2")], x_name="round")
    assert chart.svg.count("<circle") == 2
    assert chart.table[2][1] == "–"
    assert chart.table[3][1] == "100.0\u202f% [90.0\u202f%, 100.0\u202f%]"
    heights = [float(y) for y in re.findall(r'<circle[^>]* cy="([\d.]+)"', chart.svg)]
    assert heights[0] > heights[1]  # SVG's y runs downward
    alone = svg.line_chart(
        [svg.Line(label="a", color="c", x=[0], y=[0.5])], title="t", ticks=[(0, "0")], x_name="x"
    )
    assert "nan" not in alone.svg


def test_bars_are_as_tall_as_their_values():
    bars = [svg.Bars(label="s", color="c", y=[0.25, 1.0, None])]
    chart = svg.grouped_bars(["a", "b", "c"], bars, title="t", group_name="level")
    heights = [float(h) for h in re.findall(r'<rect[^>]*height="([\d.]+)"', chart.svg)]
    assert len(heights) == 2
    assert heights[0] / heights[1] == pytest.approx(0.25, abs=0.01)


def test_stacked_bars_are_as_wide_as_their_parts():
    parts = [
        svg.Segments(label="x", color="c", values=[0.25, 0.5]),
        svg.Segments(label="y", color="d", values=[0.75, 0.5]),
    ]
    chart = svg.stacked_bars(["one", "two"], parts, title="t")
    widths = [float(w) + 1 for w in re.findall(r'<rect[^>]*width="([\d.]+)"', chart.svg)]
    assert widths[0] / widths[1] == pytest.approx(1 / 3, abs=0.02)
    assert widths[2] / widths[3] == pytest.approx(1, abs=0.02)
    assert svg.stacked_bars(["none"], [svg.Segments(label="x", color="c", values=[None])], title="t").svg


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (12, "12"),
        (12.34, "12.3"),
        (0.01234, "0.0123"),
        (48_000, "48 k"),
        (1_050_240, "1.05 M"),
        (3.2e12, "3.2 T"),
    ],
)
def test_numbers_are_short(value, shown):
    assert number(value).replace("\u202f", " ") == shown
