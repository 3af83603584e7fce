"""Answers that are lists: `[1, 2, 3]`, `(0.5, 2)`, `2, 3 and 5`."""

from __future__ import annotations

import re

from dast_jax.verifiers.equivalence import Comparison, Tolerance, compare_math, split_parts
from dast_jax.verifiers.extract import Extraction, last_boxed
from dast_jax.verifiers.normalize import NUMBER, clean
from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.prose import is_prose

__all__ = ["as_tuple", "compare_list", "extract_list"]

_TAIL = 4_000
_MARKERS_TRIED = 8
_MARKER = re.compile(
    r"\b(?:answers?|lists?|solutions?|values?)\b[^.\n]{0,40}?(?:\s*\*\*)?\s*(?:(?:is|are)\b(?:\s*:)?|:)",
    re.IGNORECASE,
)
_GROUP = re.compile(r"\\?\[[^\[\]]*\\?\]|\([^()]*,[^()]*\)|\\?\{[^{}]*,[^{}]*\}")
_ITEM = rf"(?:-\s?)?(?:\\frac\{{\d+\}}\{{\d+\}}|\d+/\d+|{NUMBER})"
_JOIN = r"(?:\s*,\s*(?:and\s+|or\s+)?|\s+and\s+|\s+or\s+)"
_RUN = re.compile(rf"(?<![\w.]){_ITEM}(?:{_JOIN}{_ITEM})++(?![\w/^])")
_WORDS_JOIN = re.compile(r"\s*,?\s*(?:\\text\{)?\s*\b(?:and|or)\b\s*\}?\s*")


def extract_list(text: str, options: VerifierOptions) -> Extraction:
    """Return the last list of a response, with its brackets where it has any.

    In this order: the last `\\boxed{}`; after `####`; after "answer is" and its like; the whole text where
    it is no prose; the last bracketed list, or run of numbers ("2, 3 and 5"), of prose. At a marker one
    value alone is a list of one.
    """
    text = text[-_TAIL:]
    if (boxed := last_boxed(text)) is not None:
        return Extraction(boxed, "boxed")
    if (at := text.rfind("####")) >= 0 and (line := text[at + 4 :].strip().partition("\n")[0]):
        return Extraction(_list_in(line) or line, "after ####")
    for match in reversed(list(_MARKER.finditer(text))[-_MARKERS_TRIED:]):
        line = text[match.end() :].lstrip(" \t\r\n:*=").partition("\n")[0]
        if (answer := _list_in(line) or _single(line)) is not None:
            return Extraction(answer, "answer is")
    bare = text.strip()
    if bare and not is_prose(bare) and "\n" not in bare:
        return Extraction(bare, "bare answer")
    answer = _list_in(bare, last=True)
    return Extraction(answer, "last list" if answer is not None else "nothing")


def _list_in(text: str, *, last: bool = False) -> str | None:
    """Return the first (or last) bracketed list of `text`, else its first (or last) run of numbers."""
    for pattern in (_GROUP, _RUN):
        if found := [match.group() for match in pattern.finditer(text)]:
            return found[-1 if last else 0]
    return None


def _single(line: str) -> str | None:
    line = line.strip().rstrip(".")
    return line if line and not is_prose(line) else None


def compare_list(
    reference: str, answer: str, options: VerifierOptions, tolerance: Tolerance | None = None
) -> Comparison | None:
    """Return whether two lists have equal items, in order unless `options.list_order` is off.

    The kind of brackets around them does not matter. None where an item takes symbolic comparison (in
    order only; out of order, items are compared by value or by their text).
    """
    left, right = _items(reference), _items(answer)
    if len(left) != len(right):
        return Comparison(False, f"lists of {len(left)} and {len(right)} items")
    if not options.list_order:
        return _unordered(left, right, options, tolerance)
    undecided = False
    for a, b in zip(left, right, strict=True):
        same = compare_math(a, b, options.percent, tolerance)
        if same is not None and not same.equal:
            return Comparison(False, "an item differs")
        undecided |= same is None
    return None if undecided else Comparison(True, "equal items")


def _unordered(
    left: list[str], right: list[str], options: VerifierOptions, tolerance: Tolerance | None
) -> Comparison:
    rest = list(right)
    for a in left:
        for b in rest:
            same = compare_math(a, b, options.percent, tolerance)
            if same is not None and same.equal:
                rest.remove(b)
                break
        else:
            return Comparison(False, "an item is missing")
    return Comparison(True, "equal items, in some order")


def _items(text: str) -> list[str]:
    """Return the items of a list; spaces separate them where there is no comma (`[1 2 3]`)."""
    text = clean(text).replace("\\{", "{").replace("\\}", "}").replace("\\[", "[").replace("\\]", "]")
    if len(text) > 1 and text[0] + text[-1] in ("[]", "()", "{}"):
        text = text[1:-1].strip()
    text = _WORDS_JOIN.sub(",", text)
    parts = split_parts(text)
    if len(parts) == 1 and re.fullmatch(rf"{_ITEM}(?:\s+{_ITEM})+", text):
        parts = text.split()
    return [part.strip("'\"") for part in parts if part]


def as_tuple(text: str) -> str:
    """Return a list as the symbolic comparison reads it, regardless of its brackets."""
    return "(" + ",".join(_items(text)) + ")"
