"""The one place where text becomes markup."""

from __future__ import annotations

from html import escape

__all__ = ["Html", "text"]


class Html(str):
    """Markup that is safe to put into the page as it stands; a plain `str` is escaped first."""

    __slots__ = ()


def text(value: object) -> Html:
    """`value` as escaped text. NUL, lone surrogates and their like become visible replacement characters."""
    if isinstance(value, Html):
        return value
    clean = "".join(c if c >= " " or c in "\n\t" else "\ufffd" for c in str(value))
    return Html(escape(clean.encode("utf-8", "replace").decode("utf-8")))
