"""Finding the answer in a worked solution of a mathematical problem, and in a reference.

The other families' extraction is in `words` and `lists`; `families` has the table of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dast_jax.verifiers.clause import answer_of_clause, closing_display, last_in_prose
from dast_jax.verifiers.guard import looks_like_code
from dast_jax.verifiers.prose import is_prose, without_bold

__all__ = ["Extraction", "closing_brace", "extract_math", "extract_reference", "last_boxed", "stated_texts"]

_PROSE_TAIL = 4_000
_BOXES_TRIED = 8
_MARKER_SPAN = 150
"""Characters that hold any "answer to … is"."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer's text (None where there is none) and where it was found."""

    answer: str | None
    found: str


def extract_math(text: str) -> Extraction:
    """Return the final answer of a worked solution, or of a bare answer.

    In this order: the last `\\boxed{}` whose braces match; what follows the last `####`; what follows the
    last "answer is"; the text itself where it is no prose; the last number of prose.
    """
    if (boxed := last_boxed(text)) is not None:
        return Extraction(boxed, "boxed")
    if (at := text.rfind("####")) >= 0 and (answer := answer_of_clause(text[at + 4 :])):
        return Extraction(answer, "after ####")
    for end in reversed([m.end() for m in _ANSWER_IS.finditer(text)]):
        if answer := answer_of_clause(text[end : end + _PROSE_TAIL]):
            return Extraction(answer, "answer is")
    bare = text.strip()
    if not bare:
        return Extraction(None, "nothing")
    if looks_like_code(bare):
        return Extraction(bare, "bare answer")
    if not is_prose(bare):
        if "\n" in bare and (shown := closing_display(bare)) is not None:
            return Extraction(shown, "bare answer")
        lines = bare.split("\n") if "\\begin" not in bare else [bare]
        return Extraction(lines[-1].strip(), "bare answer" if len(lines) == 1 else "last line")
    number = last_in_prose(without_bold(bare[-_PROSE_TAIL:]).replace("{,}", ","))
    return Extraction(number, "last number" if number is not None else "nothing")


def extract_reference(text: str) -> str:
    """Return the reference answer: itself, or the marked answer of a whole reference solution."""
    if "\\boxed" in text or "####" in text:
        return extract_math(text).answer or text.strip()
    return text.strip()


def stated_texts(text: str, longest: int) -> Iterator[str]:
    """Yield all that a response without a box says after its marker, up to `longest` characters.

    That is what follows the last `####`, else each "answer is".
    """
    if "boxed" in text:
        return
    if (at := text.rfind("####")) >= 0:
        starts, tail = [at + 4], text
    else:
        tail = text[-(longest + _MARKER_SPAN) :]
        starts = [match.end() for match in _ANSWER_IS.finditer(tail)] if "answer" in tail.lower() else []
    for start in starts:
        if len(tail) - start <= longest:
            yield tail[start:].lstrip(" \t\r\n:*=")


# --- markers ----------------------------------------------------------------------------------------

_BOXED = re.compile(r"\\f?boxed\s*\{")
_ANSWER_IS = re.compile(
    r"\banswers?\b(?:\s+(?:to|for|of|in)\s[^.\n]{0,80}?)?(?:\s*\*\*)?"
    r"\s*(?:(?:is|are|would be|will be|must be)\b(?:\s*:)?|:)",
    re.IGNORECASE,
)


def last_boxed(text: str) -> str | None:
    """Return what the last non-empty `\\boxed{…}` with matched braces holds, None without one."""
    if "boxed" not in text:
        return None
    starts = [m.end() for m in _BOXED.finditer(text)]
    for start in reversed(starts[-_BOXES_TRIED:]):
        close = closing_brace(text, start)
        if close is not None and (inner := text[start:close].strip()):
            return inner
    return None


def closing_brace(text: str, start: int) -> int | None:
    """Return where the group that was opened just before `start` closes; escaped braces do not count."""
    depth, at, end = 1, start, len(text)
    while at < end:
        char = text[at]
        if char == "\\":
            at += 2
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None
