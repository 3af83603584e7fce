"""The HTML around the content: page, cards, figures and tables. All text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence

from dast_jax.reporting.csv_link import csv_link
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.style import CSS
from dast_jax.reporting.svg import Chart, Key

__all__ = ["card", "cards", "details", "figure", "page", "section", "table"]


def page(title: str, header: Html, sections: Sequence[Html], footer: str) -> str:
    """Return the whole document: nothing in it is fetched from anywhere, and nothing in it is a script."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        # A second lock behind the escaping: even markup that slipped through could load or run nothing.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>\n" + "\n".join(s for s in sections if s) + "\n</main>\n"
        f"<footer>{text(footer)}</footer>\n</body>\n</html>\n"
    )


def section(title: str, *content: Html, note: str = "", anchor: str = "") -> Html:
    """Return a titled section; empty when its content is."""
    if not any(content):
        return Html("")
    lead = f'<p class="note">{text(note)}</p>' if note else ""
    name = f' id="{text(anchor)}"' if anchor else ""
    return Html(f"<section{name}><h2>{text(title)}</h2>{lead}{''.join(content)}</section>")


def cards(content: Sequence[Html], *, wide: bool = False) -> Html:
    """Return a grid of cards that folds into one column on a phone."""
    kept = [c for c in content if c]
    if not kept:
        return Html("")
    shape = "wide" if wide else "three" if len(kept) in (3, 5, 6) else "two"
    return Html(f'<div class="grid {shape}">{"".join(kept)}</div>')


def card(*content: Html, kind: str = "") -> Html:
    return Html(f'<div class="card {kind}">{"".join(content)}</div>')


def figure(title: str, chart: Chart | None, note: str = "", more: Html | None = None) -> Html:
    """Return a chart with title, legend, and its numbers behind a click, also as CSV; empty without one.

    `more` comes below it.
    """
    if chart is None:
        return Html("")
    legend = "".join(f"<span>{_swatch(key)}{text(key.label)}</span>" for key in chart.legend)
    below = f'<p class="note">{text(note)}</p>' if note else ""
    saved = csv_link(title, chart.numbers)
    numbers = Html(details("Numbers", table(chart.table), saved) + (more or ""))
    return Html(
        f'<figure class="card"><figcaption>{text(title)}</figcaption>'
        f'{f"""<div class="legend">{legend}</div>""" if legend else ""}{chart.svg}{below}{numbers}</figure>'
    )


def _swatch(key: Key) -> str:
    """Return a square of the key's color, or a piece of its dashed line."""
    if not key.dashes:
        return f'<i style="background:{key.color}"></i>'
    line = f'<line x1="0" y1="5" x2="26" y2="5" style="stroke:{key.color};stroke-dasharray:{key.dashes}"/>'
    return f'<svg class="key" width="26" height="10" aria-hidden="true">{line}</svg>'


def table(rows: Sequence[Sequence[object]], *, caption: str = "") -> Html:
    """Return a table whose first row is the header and first column names the rows; it scrolls sideways."""
    head, *body = rows
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    lines = [
        f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in body
    ]
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def details(title: str, *content: Html) -> Html:
    return Html(f"<details><summary>{text(title)}</summary>{''.join(content)}</details>")
