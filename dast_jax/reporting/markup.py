"""The one place where text becomes markup."""

from __future__ import annotations

from html import escape

from dast_jax.runtime.visible import visible

__all__ = ["Html", "text"]


class Html(str):
    """Markup that is safe to put into the page as it stands; a plain `str` is escaped first."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return itself, by the name that templates ask for."""
        return self


def text(value: object) -> Html:
    """`value` as escaped text; control characters and their like are shown as `runtime.visible` says."""
    if hasattr(value, "__html__"):
        return Html(value.__html__())
    return Html(escape(visible(value, keep="\n\t")))
