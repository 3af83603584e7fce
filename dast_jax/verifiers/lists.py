"""Answers that are lists: `[1, 2, 3]`, `(0.5, 2)`, `2, 3 and 5`."""

from __future__ import annotations

import re
from itertools import pairwise

from dast_jax.verifiers.denial import DENIED_AFTER, denied, refutes
from dast_jax.verifiers.equivalence import Comparison, Tolerance, compare_math, split_parts
from dast_jax.verifiers.extract import Extraction
from dast_jax.verifiers.guard import looks_like_code
from dast_jax.verifiers.marks import marks, only_empty_boxes
from dast_jax.verifiers.normalize import NUMBER, clean
from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.pointing import introduces_value, turns
from dast_jax.verifiers.prose import is_prose
from dast_jax.verifiers.stance import names_another, states

__all__ = ["as_tuple", "compare_list", "extract_list"]

_TAIL = 4_000
_GROUP = re.compile(r"\\?\[[^\[\]]*\\?\]|\([^()]*,[^()]*\)|\\?\{[^{}]*,[^{}]*\}")
_ITEM = rf"(?:-\s?)?(?:\\frac\{{\d+\}}\{{\d+\}}|\d+/\d+|{NUMBER})"
_JOIN = r"(?:\s*,\s*(?:and\s+|or\s+)?|\s+and\s+|\s+or\s+)"
_RUN = re.compile(rf"(?<![\w.]){_ITEM}(?:{_JOIN}{_ITEM})++(?![\w/^])")
_SPACED_ITEMS = re.compile(rf"{_ITEM}(?:\s+{_ITEM})+")
_WORDS_JOIN = re.compile(r"\s*,?\s*(?:\\text\{)?\s*\b(?:and|or)\b\s*\}?\s*")


def extract_list(text: str, options: VerifierOptions) -> Extraction:
    """Return the last list of a response, with its brackets where it has any.

    In this order: the last `\\boxed{}`; after `####`; after "answer is" and its like; the whole text where
    it is no prose; the last bracketed list, or run of numbers ("2, 3 and 5"), of prose. At a marker one
    value alone is a list of one.
    """
    text = text[-_TAIL:]
    for mark in marks(text):
        if not mark.states_answer():
            return Extraction(None, "nothing")
        if mark.enclosed:
            return Extraction(mark.rest, mark.found)
        line = mark.rest.lstrip(" \t\r\n:*=").partition("\n")[0]
        if (answer := _list_in(line) or _single(line)) is not None:
            other = _list_in(line, last=True) != _list_in(line) and ". " in line
            return Extraction(None if other else answer, mark.found)
        if _GROUP.search(line):
            return Extraction(None, "nothing")
    bare = text.strip()
    if only_empty_boxes(bare) or bare.endswith("?"):
        return Extraction(None, "nothing")
    if bare and not is_prose(bare) and "\n" not in bare:
        return Extraction(bare, "bare answer")
    for line in reversed(bare.split("\n")):
        if _CALL.search(line) or looks_like_code(line):
            break
        if _GROUP.search(line) or _RUN.search(line):
            answer = (
                _list_in(line, last=True) if states("", line, marked=False) and not refutes(line) else None
            )
            return Extraction(answer, "last list" if answer is not None else "nothing")
    return Extraction(None, "nothing")


def _list_in(text: str, *, last: bool = False) -> str | None:
    """Return the one bracketed list, or else run of numbers, of a line, that it does not deny.

    Of several the first counts (or the last), unless they are alternatives (`[0, 5] or [0, 2, 5]`) or a list
    of lists.
    """
    for pattern in (_GROUP, _RUN):
        found = [
            m
            for m in pattern.finditer(text)
            if not denied(text[max(0, m.start() - 40) : m.start()])
            and not DENIED_AFTER.match(text[m.end() : m.end() + 40])
            and (introduces_value(before := text[max(0, m.start() - 60) : m.start()]) or turns(before))
            and not names_another(before)
            and _ENDS.match(text[m.end() : m.end() + 60])
        ]
        if not found:
            if pattern.search(text):
                return None
            continue
        if any(_ALTERNATIVE.fullmatch(text[a.end() : b.start()]) for a, b in pairwise(found)):
            return None
        return found[-1 if last else 0].group()
    return None


_CALL = re.compile(r"\w\.\w+\(")
"""`x.sort()` makes another list of what is before it."""
_ENDS = re.compile(
    r"[\s*_\"'`$)]*(?:$|\.(?!\w)|;(?!\s*then\b)|[:!?(]|,(?=\s*(?:$|[^\w\s]|(?:not|because|since|as|which"
    r"|so|where|and|i\.e|that|or|in)\b))|(?:is|are) the (?:correct |final |right )?(?:answer|list|result)\b"
    r"|(?:because|since|as|which|and not|not)\b"
    r"|in (?:that|this|increasing|decreasing|ascending|descending|alphabetical|sorted|the) )"
)
"""What may follow a list that is the answer; `[1, 2] reversed` and `[1, 2] + [3]` are other lists."""
_ALTERNATIVE = re.compile(
    r"[\s*$]*(?:,|;|\bor\b|\band\b|,\s*(?:or|and)\b|/)?[\s*$]*(?:\b(?:maybe|perhaps|possibly)\b\s*)?"
)


def _single(line: str) -> str | None:
    line = line.strip().rstrip(".")
    return line if line and not is_prose(line) and not _GROUP.search(line) else None


def compare_list(
    reference: str, answer: str, options: VerifierOptions, tolerance: Tolerance | None = None
) -> Comparison | None:
    """Return whether two lists have equal items, in order unless `options.list_order` is off.

    The kind of brackets around them does not matter. None where an item takes symbolic comparison (in
    order only; out of order, items are compared by value or by their text).
    """
    if reference == answer and any("0" <= c <= "9" for c in answer):
        return Comparison(True, "equal items")
    left, right = _items(reference), _items(answer)
    if len(left) != len(right):
        return Comparison(False, f"lists of {len(left)} and {len(right)} items")
    if not options.list_order:
        return _unordered(left, right, options, tolerance)
    undecided = False
    for a, b in zip(left, right, strict=True):
        if a == b and a.isalnum():
            continue
        if tolerance is None and _SMALL.fullmatch(a) and _SMALL.fullmatch(b):
            return Comparison(False, "an item differs")  # most lists are of such numbers
        same = compare_math(a, b, options.percent, tolerance)
        if same is not None and not same.equal:
            return Comparison(False, "an item differs")
        undecided |= same is None
    return None if undecided else Comparison(True, "equal items")


_SMALL = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)


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
    text = clean(text)
    if "\\" in text:
        text = text.replace("\\{", "{").replace("\\}", "}").replace("\\[", "[").replace("\\]", "]")
    if len(text) > 1 and text[0] + text[-1] in ("[]", "()", "{}"):
        text = text[1:-1].strip()
    if "and" in text or "or" in text:
        text = _WORDS_JOIN.sub(",", text)
    parts = split_parts(text)
    if len(parts) == 1 and _SPACED_ITEMS.fullmatch(text):
        parts = text.split()
    return [part.strip("'\"") for part in parts if part]


def as_tuple(text: str) -> str:
    """Return a list as the symbolic comparison reads it, regardless of its brackets."""
    return "(" + ",".join(_items(text)) + ")"
