"""Where sentences end, and words inside LaTeX: for the families that read sentences as text."""

from __future__ import annotations

import re

__all__ = ["SENTENCE_END", "STOP", "first_sentence", "sentences", "with_words"]

STOP = r"[.!?？](?<!\b[Nn]o\.(?=\s?\d))(?=[\s*]|$)"
"""What ends a sentence: a stop before space or bold, but not that of `No. 5`."""

SENTENCE_END = re.compile(r"[.!?？\n](?:(?<=\n)|(?<!\b[Nn]o\.(?=\s?\d))(?=[\s*]|$))")
"""The same or a line's end, as one set of characters first, which is searched for fast."""

_BETWEEN = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\b[Nn]o\.(?=\s?\d))\s+|\n+")
_WORDS = re.compile(r"\\(?:text|textbf|mathbf|mathrm|mbox)\s*\{([^{}]*)\}")


def first_sentence(text: str, *, label: bool = False) -> tuple[str, str]:
    """Return the first sentence of `text`, without its stop, and what follows it.

    With `label`, the stop after a lone first letter (`B. palms`) does not end it.
    """
    end = SENTENCE_END.search(text, 1)
    if label and end is not None and end.start() == 1 and text[1] == ".":
        end = SENTENCE_END.search(text, 2)
    return (text, "") if end is None else (text[: end.start()], text[end.start() :])


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`; a line's end ends one, the stop of a label (`B. palms`) does not."""
    return [part for part in _BETWEEN.split(text) if part.strip()]


def with_words(text: str) -> str:
    """Return `text` with the words of `\\text{…}` and its like outside of LaTeX."""
    return _WORDS.sub(r" \1 ", text) if "\\" in text else text
