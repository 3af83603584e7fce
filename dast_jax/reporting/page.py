"""The HTML around the content: page, cards, figures and tables, from `templates/page.html`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2

from dast_jax.reporting.csv_link import csv_link
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.style import CSS
from dast_jax.reporting.svg import Chart

__all__ = [
    "ShownResponse",
    "card",
    "cards",
    "details",
    "figure",
    "head",
    "notice",
    "page",
    "paragraph",
    "sample",
    "section",
    "table",
    "tile",
]


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
    """Return a chart with title, legend, and its numbers behind a click, also as CSV; empty without one.

    `more` comes below it.
    """
    if chart is None:
        return Html("")
    numbers = details("Numbers", table(chart.table), csv_link(title, chart.numbers))
    return _render("figure", title, chart, note, Html(numbers + (more or "")))


def table(rows: Sequence[Sequence[object]], *, caption: str = "") -> Html:
    """Return a table whose first row is the header and first column names the rows."""
    return _render("table", rows, caption)


def details(title: str, *content: Html) -> Html:
    return _render("details", title, content)


def head(title: str, facts: Mapping[str, object], sentences: Sequence[tuple[str, str]]) -> Html:
    """Return the title, the facts that are known (not ""), and sentences, each with a label or ""."""
    return _render("head", title, facts, sentences)


def paragraph(content: object, kind: str = "") -> Html:
    return _render("paragraph", content, kind)


def notice(title: str, lines: Sequence[str]) -> Html:
    """Return a box with a list; empty when the list is."""
    return _render("notice", title, lines) if lines else Html("")


def tile(name: str, accuracy: str, *, was: str, change: str = "", kind: str = "") -> Html:
    """Return a card with a large number, what it was before, and the change in the color of its kind."""
    return _render("tile", name, accuracy, was, change, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownResponse:
    """A response on the page: whose, its verdict (`kind` in the style sheet), and what was read in it."""

    name: str
    kind: str
    verdict: str
    marks: Sequence[str]
    answer: str
    text: str


def sample(place: str, question: str, reference: str, responses: Sequence[ShownResponse]) -> Html:
    """Return a card with a question and the responses to it."""
    return _render("sample", place, question, reference, responses)
