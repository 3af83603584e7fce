"""Distinguish a sentence from a bare answer, and find the numbers in sentences and the display at the end."""

from __future__ import annotations

import re

from dast_jax.verifiers.normalize import NUMBER

__all__ = ["PROSE_NUMBER", "closing_display", "is_prose", "without_bold"]

_SPACE = re.compile(r"\s")
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
    """Return whether `text` is a sentence, not a bare answer: two words, or a word and a number."""
    if len(text) > 2_000:
        text = text[:2_000]
    if _SPACE.search(text) is None:
        return False
    plain = _LATEX_TEXT.sub(" ", text) if "\\" in text else text
    only = ""
    for match in _WORD.finditer(plain):
        word = match[0].casefold()
        if word not in _MATH_WORDS:
            if only:
                return True
            only = word
    if only in _PROSE_WORDS:
        return True
    return len(only) > 2 and any("0" <= c <= "9" for c in text) and _OPERATOR.search(text) is None


_BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?=\S)([^*\n]{1,200})(?<=\S)\*\*(?![\w*])")
_BOLD_END = re.compile(r"(?<=[\w)\]}%$])\*\*(?=\s+[A-Za-z]{2}|[\s.,;:!?]*$)")
"""The end of a bold span that began before the text."""

_SCALE = r"(?:\s+(?:hundred|thousand|million|billion|trillion|lakh|crore)\b)?"
PROSE_NUMBER = re.compile(
    # Not inside a name, a power, a product, an index or another number.
    r"(?<![\w^*/_\\.{])(?<!\d,)(?<!\d:)"
    rf"(?:(?<![\w)\]}}%])-)?(?:\\?\$)?(?:(?:\d+\s*)?\\[dt]?frac\s*(?:\{{-?\d+\}}|\d)\s*(?:\{{-?\d+\}}|\d)"
    rf"|(?:\d+\s+)?\d+/\d+(?![/.]?\d)|(?:{NUMBER})(?!/\d))"
    rf"(?:(?:cm|mm|km|kg|mg|ml|ft|lbs?|oz|mph|hrs?|mins?|am|pm)\b|(?:\s?\\?%)|{_SCALE})"
    r"(?![\w^_{]|\\(?![)\]%$,;! \\]|text|mathrm|right|q?quad)|\s*\*\*?\s*[\w(]|:\d|\.\d|,\d{3}(?!\d))",
    re.ASCII,
)


def without_bold(text: str) -> str:
    """`text` without Markdown's bold, which `9**9` is not."""
    return _BOLD_END.sub("", _BOLD.sub(r"\1", text)) if "**" in text else text


def closing_display(text: str) -> str | None:
    """Return the content of the display block (`$$…$$`, `\\[…\\]`) at the end of `text`; None without one."""
    text = text.rstrip(" \t\r\n.,;")
    end = len(text) - 2
    if text.endswith("$$"):
        start = text.rfind("$$", 0, end) if text.count("$$") % 2 == 0 else -1
    elif text.endswith("\\]"):
        start = text.rfind("\\[", 0, end)
        while start > 0 and text[start - 1] == "\\":  # `\\[4pt]` is a line break
            start = text.rfind("\\[", 0, start)
        start = start if text.find("\\]", max(start, 0)) == end else -1
    else:
        return None
    return text[start + 2 : end].strip() or None if start >= 0 else None
