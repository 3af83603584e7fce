"""Finding the answer in a worked solution of a mathematical problem, and in a reference.

The other families' extraction is in `words` and `lists`; `families` has the table of all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dast_jax.verifiers.guard import looks_like_code
from dast_jax.verifiers.normalize import NUMBER

__all__ = ["Extraction", "extract_math", "extract_reference", "is_prose", "last_boxed"]

_PROSE_TAIL = 4_000
_BOXES_TRIED = 8


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer's text (None where there is none) and where it was found."""

    answer: str | None
    found: str


def extract_math(text: str) -> Extraction:
    """The final answer of a worked solution, or of a bare answer.

    In this order: the last `\\boxed{}` whose braces match; what follows the last `####`; what follows the
    last "answer is"; the text itself where it is no prose; the last number of prose.
    """
    if (boxed := last_boxed(text)) is not None:
        return Extraction(boxed, "boxed")
    if (at := text.rfind("####")) >= 0 and (answer := _clause(text[at + 4 :])):
        return Extraction(answer, "after ####")
    for end in reversed([m.end() for m in _ANSWER_IS.finditer(text)]):
        if answer := _clause(text[end : end + _PROSE_TAIL]):
            return Extraction(answer, "answer is")
    bare = text.strip()
    if not bare:
        return Extraction(None, "nothing")
    if looks_like_code(bare):
        return Extraction(bare, "bare answer")
    if not is_prose(bare):
        lines = bare.split("\n") if "\\begin" not in bare else [bare]
        return Extraction(lines[-1].strip(), "bare answer" if len(lines) == 1 else "last line")
    number = _last_number(_BOLD.sub(r"\1", bare[-_PROSE_TAIL:]).replace("{,}", ","))
    return Extraction(number, "last number" if number is not None else "nothing")


def extract_reference(text: str) -> str:
    """The reference answer: itself, or the marked answer of a whole reference solution."""
    if "\\boxed" in text or "####" in text:
        return extract_math(text).answer or text.strip()
    return text.strip()


# --- markers ----------------------------------------------------------------------------------------

_BOXED = re.compile(r"\\f?boxed\s*\{")
_ANSWER_IS = re.compile(
    r"\banswers?\b(?:\s+(?:to|for|of|in)\s[^.\n]{0,80}?)?(?:\s*\*\*)?"
    r"\s*(?:(?:is|are|would be|will be|must be)\b(?:\s*:)?|:)",
    re.IGNORECASE,
)
_INLINE_MATH = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$((?:\\.|[^$\\\n])+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL
)
_MATH_LIST = re.compile(
    r"(\$(?:\\.|[^$\\\n]){1,200}\$(?:\s*(?:,\s*(?:and|or)\b|,|\band\b|\bor\b)\s*\$(?:\\.|[^$\\\n]){1,200}\$)+)"
    r"\s*(?:[.!]\s|[.!]?\s*$|\n)"
)
"""Several formulas (`$x=1$ or $x=2$`) up to the end of their sentence."""

_SENTENCE_END = re.compile(r"[.!?](?=[\s*]|$)|\n")


def last_boxed(text: str) -> str | None:
    """What the last non-empty `\\boxed{…}` with matched braces holds, None without one."""
    if "boxed" not in text:
        return None
    starts = [m.end() for m in _BOXED.finditer(text)]
    end = len(text)
    for start in reversed(starts[-_BOXES_TRIED:]):
        close = _closing_brace(text, start, end)
        if close is not None and (inner := text[start:close].strip()):
            return inner
    return None


def _closing_brace(text: str, start: int, end: int) -> int | None:
    """Where the group that was opened just before `start` closes; escaped braces do not count."""
    depth, at = 1, start
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


def _clause(text: str) -> str | None:
    """The answer that stands at the start of `text`, which follows a marker; None where nothing is there."""
    text = text[:_PROSE_TAIL].lstrip(" \t\r\n:*=")  # Markdown's bold and colons after the marker
    if not text:
        return None
    if (several := _MATH_LIST.match(text)) is not None:
        return several[1]
    math = _INLINE_MATH.match(text)
    if math is not None and not is_prose(inner := next(g for g in math.groups() if g is not None)):
        return inner.strip() or None
    end = _SENTENCE_END.search(text)
    clause = (text[: end.start()] if end else text).strip().rstrip("*").rstrip()
    if looks_like_code(clause) or not is_prose(clause):
        return clause or None
    for math in _INLINE_MATH.finditer(clause):
        inner = next(g for g in math.groups() if g is not None)
        if not is_prose(inner):
            return inner.strip()
    number = _PROSE_NUMBER.search(clause)
    return number.group(0).strip() if number else clause


# --- prose ------------------------------------------------------------------------------------------

_LATEX_TEXT = re.compile(r"\\(?:text\w*|mathrm|mbox|operatorname)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_WORD = re.compile(r"(?<![^\s(\"'*_$])[A-Za-z]{2,}(?:['’][a-z]+)?(?=[\s.,;:!?)\"'*_$]|$)")
_OPERATOR = re.compile(r"[=+*/^<>\\]")
_math_words = """
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp sqrt pi mod max min lim gcd
    lcm deg det inf infinity and or if dx dy dt dz
"""
_MATH_WORDS = frozenset(_math_words.split())
_prose_words = """
    is are was the so thus we it of to in be she he they have has there total
"""
_PROSE_WORDS = frozenset(_prose_words.split())


def is_prose(text: str) -> bool:
    """Whether `text` is a sentence rather than an answer by itself: two words, or a word beside a number."""
    if len(text) > 2_000:
        text = text[:2_000]
    if not any(c.isspace() for c in text):
        return False
    plain = _LATEX_TEXT.sub(" ", text) if "\\" in text else text
    words = [w.casefold() for w in _WORD.findall(plain)]
    words = [w for w in words if w not in _MATH_WORDS]
    if len(words) != 1:
        return len(words) > 1
    if words[0] in _PROSE_WORDS:
        return True
    return len(words[0]) > 2 and any("0" <= c <= "9" for c in text) and _OPERATOR.search(text) is None


_BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?=\S)([^*\n]{1,200})(?<=\S)\*\*(?![\w*])")
_SCALE = r"(?:\s+(?:hundred|thousand|million|billion|trillion)\b)?"
_PROSE_NUMBER = re.compile(
    # Not inside a name, a power, a product, an index or another number.
    r"(?<![\w^*/_\\.{])(?<!\d,)(?<!\d:)"
    rf"(?:(?<![\w)\]}}%])-)?(?:\\?\$)?(?:(?:\d+\s*)?\\[dt]?frac\s*(?:\{{-?\d+\}}|\d)\s*(?:\{{-?\d+\}}|\d)"
    rf"|(?:\d+\s+)?\d+/\d+(?![/.]?\d)|(?:{NUMBER})(?!/\d))"
    rf"(?:(?:cm|mm|km|kg|mg|ml|ft|lbs?|oz|mph|hrs?|mins?|am|pm)\b|(?:\s?\\?%)|{_SCALE})"
    r"(?![\w^_{]|\\(?![)\]%$,;! \\]|text|mathrm|right|q?quad)|\s*\*\*?\s*[\w(]|:\d|\.\d|,\d{3}(?!\d))",
    re.ASCII,
)


def _last_number(text: str) -> str | None:
    """The last number in prose, None without one."""
    last = None
    for match in _PROSE_NUMBER.finditer(text):
        last = match
    return last.group(0).strip().rstrip(".") if last else None
