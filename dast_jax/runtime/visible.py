"""Text from outside (a file, a model, a server) as it may be shown: nothing in it acts on what shows it.

visible("a\\x1b[2Jb") == "a\\\\x1b[2Jb"
"""

from __future__ import annotations

import logging
import re
from typing import Any

__all__ = ["VisibleFormatter", "visible"]

_ACTING = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: a terminal obeys them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi marks: what is read is not what is there
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff"  # lone surrogates: no terminal and no file can be given them
    "]"
)


def visible(text: object, *, keep: str = "") -> str:
    """Return `text` with each control character, bidi mark and lone surrogate as its Python escape.

    The characters of `keep` ("\\n" where several lines are meant) stay as they are.
    """
    return _ACTING.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), str(text))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class VisibleFormatter(logging.Formatter):
    """A formatter of log lines: a message stays on its line, a traceback keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of the record, escaped."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Return the lines of the traceback, escaped."""
        return visible(super().formatException(ei), keep="\n\t")
