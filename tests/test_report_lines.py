"""Many lines in one chart can be told apart, and its legend shows how."""

from dast_jax.reporting import svg
from dast_jax.reporting.layout import run_colour
from dast_jax.reporting.page import figure


def test_every_line_of_a_study_has_a_look_of_its_own_and_the_legend_shows_it():
    lines = [
        svg.Line(label=f"entry {i}", colour=run_colour(i), x=[0, 1], y=[0.1, 0.2], low=[], high=[])
        for i in range(24)
    ]
    chart = svg.line_chart(lines, title="t", ticks=[(0, "0"), (1, "1")], x_name="round")
    looks = [(key.colour, key.dashes) for key in chart.legend]
    assert len(set(looks)) == 24
    shown = figure("t", chart)
    for (colour, dashes), line in zip(looks, lines, strict=True):
        style = f"stroke:{colour}" + (f";stroke-dasharray:{dashes}" if dashes else "")
        assert f'<polyline class="line" style="{style}"' in chart.svg
        assert line.label in shown
    assert shown.count('<svg class="key"') == sum(dashes != "" for _, dashes in looks)
