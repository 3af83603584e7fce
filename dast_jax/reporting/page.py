"""The HTML around the content: page, cards, figures and tables, from `templates/page.html`."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jinja2

from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.style import CSS
from dast_jax.reporting.svg import Chart

__all__ = ["card", "cards", "details", "figure", "page", "section", "table"]


@functools.cache
def _templates() -> jinja2.Environment:
    """Return the environment of the templates, in which all that is no markup goes through `markup.text`."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("dast_jax.reporting"),
        autoescape=True,
        finalize=text,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def _render(macro: str, *arguments: object) -> Html:
    return Html(getattr(_templates().get_template("page.html").module, macro)(*arguments))


def page(title: str, header: Html, sections: Sequence[Html], footer: str) -> str:
    """Return the whole document: nothing in it is fetched from anywhere, and nothing in it is a script."""
    return _render("document", title, Html(CSS), header, sections, footer)


def section(title: str, *content: Html, note: str = "", anchor: str = "") -> Html:
    """Return a titled section; empty when its content is."""
    return _render("section", title, content, note, anchor) if any(content) else Html("")


def cards(content: Sequence[Html], *, wide: bool = False) -> Html:
    """Return a grid of cards, those that are not empty; empty when there are none."""
    kept = [c for c in content if c]
    shape = "wide" if wide else "three" if len(kept) in (3, 5, 6) else "two"
    return _render("cards", kept, shape) if kept else Html("")


def card(*content: Html, kind: str = "") -> Html:
    return _render("card", content, kind)


def figure(title: str, chart: Chart | None, note: str = "", more: Html | None = None) -> Html:
    """Return a chart with title, legend, and its numbers in a table behind a click; empty without one.

    `more` comes below it.
    """
    if chart is None:
        return Html("")
    return _render("figure", title, chart, note, Html(details("Numbers", table(chart.table)) + (more or "")))


def table(rows: Sequence[Sequence[object]], *, caption: str = "") -> Html:
    """Return a table whose first row is the header and first column names the rows."""
    return _render("table", rows, caption)


def details(title: str, *content: Html) -> Html:
    return _render("details", title, content)
