"""One spelling for equivalent ways to write an answer, and exact values for plain numbers.

Nothing here evaluates text: numbers are read by regular expressions into `Fraction`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

__all__ = ["CHANGING", "NUMBER", "Number", "clean", "parse_number", "text_key"]

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+"
"""An unsigned decimal, with or without thousands separators."""

_MAX_TEN_EXPONENT = 400

_LETTERS = re.compile(r"\\(?:mathrm|text|operatorname)\s*\{\s*([ei])\s*\}")
_APPROXIMATELY = re.compile(r"^\s*\$?\s*\\(?:approx|simeq|doteq)(?![a-zA-Z])\s*")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_SPACING = re.compile(r"(?<!\\)\\[;: ]|\\q?quad\b|~|\s+")
_THIN_SPACE = re.compile(r"\\!|(?<=\d)\\,(?=\d{3}(?!\d))|\{,\}(?=\d{3}(?!\d))")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?|\\displaystyle(?![a-zA-Z])")
_TEXT_COMMAND = r"\\(?:text|mathrm|mathbf|mathit|textbf|textit|textrm|textnormal|mbox|operatorname)"
_WHOLE_TEXT = re.compile(_TEXT_COMMAND + r"\s*\{([^{}]*)\}")
_TRAILING_TEXT = re.compile(r"\s*" + _TEXT_COMMAND + r"\s*\{([^{}]*)\}(?:\^\{?[23]\}?)?$")
_DEGREES = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degree)$")
_MATH_AND_UNIT = re.compile(r"\$([^$A-Za-z]*(?:\\[dt]?frac[^$A-Za-z]*)?)\$\s+([A-Za-z][A-Za-z. ]*)")
_FORMULAS = re.compile(r"(?<!\\)\$\s*(?:,\s*(?:and|or)\b|,|\band\b|\bor\b)\s*\$")
_TIGHT = re.compile(r"\s+(?=[^\w\s])|(?<=[^\w\s])\s+")

# Words after a number that change its value, so that they are no unit to be dropped.
_SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "lakh": 10**5,
    "crore": 10**7,
}
_changing = """
    squared cubed factorial modulo mod base choose point fold tops max maximum minimum upwards onwards upward
    onward halves thirds fourths fifths sixths sevenths eighths ninths tenths elevenths twelfths hundredths
    thousandths millionths dozens hundreds thousands millions billions trillions lakhs crores score
    gross k mn bn mln
    below dozen tens
"""
CHANGING = frozenset(_changing.split())
"""Words that change the number before them: `5 squared`, `5 tenths`, `5 dozen` (or 60?), `5 below zero`."""
_joining = """
    pi sqrt sin cos tan cot sec csc log ln exp and or to times plus minus over by of out half third quarter
    quarters infinity inf more less fewer than not if where when for negative at least most about above under
    unless whether maybe perhaps so too until up fails
"""
_NOT_UNITS = CHANGING | frozenset(_joining.split())
_ATTACHED_UNITS = r"(?:cm|mm|km|kg|mg|ml|ft|lbs?|oz|mph|hrs?|mins?)"

_PLAIN = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?", re.ASCII)
_SIGNED = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<currency>[$€£]?)\s*(?P<sign2>[-+]?)\s*(?:"
    rf"(?:(?P<whole>\d{{1,400}})\s*(?:\+\s*)?)?\\frac\s*(?P<top>\{{[^{{}}]*\}}"
    rf"|\d)\s*(?P<bottom>\{{[^{{}}]*\}}|\d)"
    rf"|(?:(?P<whole2>\d{{1,400}})\s+)?(?P<top2>{NUMBER})\s*/\s*(?P<bottom2>{NUMBER})"
    rf"|(?P<decimal>{NUMBER})"
    rf"(?:[eE](?P<ten>[-+]?\d{{1,4}})|\s*(?:\\times|\\cdot|\*"
    rf"|×)\s*10\s*\^\s*\{{?\s*(?P<ten2>[-+]?\d{{1,4}})\s*\}}?)?"
    rf")(?:(?P<attached>{_ATTACHED_UNITS})\b\.?)?(?:\s*(?P<percent>%)|(?P<words>(?:\s+[A-Za-z]{{2,}}\.?)+"
    rf"|\s+a\s[a-z]+)?)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value, and whether it was written with a percent sign (`value` is then the part before it)."""

    value: Fraction
    percent: bool = False


def clean(text: str) -> str:
    """Return `text` without math delimiters, sizing commands, redundant space, and a sentence's last stop."""
    text = text.strip()
    if text.isalnum():
        return text
    text = text.strip("*").strip() if text.startswith("**") or text.endswith("**") else text
    text = text.replace("−", "-")
    if "\\" in text or "{" in text:
        text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
        text = text.replace("\\$", "$").replace("\\%", "%")
        text = _respelled(text)
        text = _THIN_SPACE.sub("", text).replace("\\,", " ")
        text = _SIZES.sub("", text)
    text = _SPACING.sub(" ", text).strip() if "\\" in text or "~" in text else " ".join(text.split())
    if text.count("$") > 2:
        text = _FORMULAS.sub(", ", text)
    text = _strip_sentence_end(text)
    if text[:1] in ("$", "\\"):
        text = _without_delimiters(text)
        if text[:1] == "$" and (unit := _MATH_AND_UNIT.fullmatch(text)) is not None:
            text = f"{unit[1].strip()} {unit[2]}"
        while (whole := _WHOLE_TEXT.fullmatch(text)) is not None:
            text = whole.group(1).strip()
    while text[:1] == "{" and _is_group(text):
        text = text[1:-1].strip()
    return text


def _without_delimiters(text: str) -> str:
    for opening, closing in _DELIMITERS:
        if not (text.startswith(opening) and text.endswith(closing)):
            continue
        inner = text[len(opening) : len(text) - len(closing)]
        if len(text) > len(opening) + len(closing) and opening not in inner and closing not in inner:
            return _strip_sentence_end(inner.strip())
    return text


def _respelled(text: str) -> str:
    """Return `text` with one spelling for `\\mathrm{e}`, the empty set, and a value that is approximate."""
    if "{e" in text or "{i" in text:
        text = _LETTERS.sub(r"\1", text)
    if "\\approx" in text or "eq" in text:
        text = _APPROXIMATELY.sub("", text)
    return text.replace("\\varnothing", "\\emptyset")


def _strip_sentence_end(text: str) -> str:
    return text.rstrip(" .,;:?") if text and text[-1] in ".,;:?" else text


def _is_group(text: str) -> bool:
    """Return whether `text` is one LaTeX group, `{…}`, whose first brace is closed by its last."""
    if len(text) < 2 or text[0] != "{" or text[-1] != "}" or text[-2] == "\\":
        return False
    depth = 0
    for i, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return i == len(text) - 1
    return False


def text_key(text: str) -> str:
    """Return `clean` text without meaningless spaces; two answers with one key are the same answer.

    Words compare without regard to case; single letters and formulas keep it (`A` is not `a`).
    """
    key = clean(text)
    if " " in key:
        key = _TIGHT.sub("", key)
    return key.casefold() if is_words(key) else key


_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '\-][^\W\d_]+)*|[^\W\d_](?:[ '\-][^\W\d_]+)+")
_MATH_WORDS = frozenset(["pi", "inf", "infinity", "infty", "oo", "sin", "cos", "tan", "ln", "log", "exp"])


def is_words(key: str) -> bool:
    """Return whether a cleaned answer is words of a language, not a formula (`none`, `no solution`)."""
    return _WORDS.fullmatch(key) is not None and key.casefold() not in _MATH_WORDS


@lru_cache(maxsize=16_384)
def parse_number(text: str) -> Number | None:
    """Return the value of a cleaned answer that is one plain number, else None.

    Read are integers, decimals, fractions (`3/4`, `\\frac34`), mixed numbers (`3\\frac12`, `3 1/2`),
    powers of ten (`1.5e3`, `1.5 \\times 10^{3}`), each with sign, currency, thousands separators, a percent
    sign, degrees, or a unit in words or `\\text{}`. Anything else is for symbolic comparison.
    """
    if _PLAIN.fullmatch(text):
        return Number(_fraction(text))
    if "\\overline" in text and (repeating := _REPEATING.fullmatch(text)) is not None:
        return Number(_repeating(repeating))
    if len(text) > 1_000 or not any("0" <= c <= "9" for c in text):
        return None
    text = _DEGREES.sub("", text)
    unit = _TRAILING_TEXT.search(text)
    scale = 1
    percent = False
    if unit is not None:
        words = unit.group(1).strip().casefold().split()
        if words and words[0] in ("percent", "%"):
            percent = True
        elif (found := _scale_of(words)) is None:
            return None
        else:
            scale = found
        text = _DEGREES.sub("", text[: unit.start()].rstrip())
    text = text.strip()
    if text.startswith("(") and text.endswith(")") and "(" not in text[1:] and "," not in text:
        text = text[1:-1].strip()
    match = _SIGNED.fullmatch(text)
    if match is None:
        return None
    value = _magnitude(match)
    if value is None or (match["sign"] and match["sign2"]):
        return None
    words = (match["words"] or "").casefold().replace(".", " ").split()
    if words and words[0] in ("percent", "percentage", "pct"):
        percent, words = True, words[1:]
    if (more := _scale_of(words)) is None:
        return None
    if scale != 1 or more != 1:
        value *= scale * more
    negative = "-" in (match["sign"], match["sign2"])
    return Number(-value if negative else value, percent or match["percent"] is not None)


_REPEATING = re.compile(
    r"(?P<sign>-?)(?P<whole>\d{0,50})\.(?P<fixed>\d{0,50})\\overline\s*\{?(?P<period>\d{1,50})\}?", re.ASCII
)


def _repeating(match: re.Match[str]) -> Fraction:
    """Return the value of `0.1\\overline{6}`, one sixth."""
    fixed, period = match["fixed"], match["period"]
    head = int((match["whole"] or "0") + fixed)
    value = Fraction(int(f"{head}{period}") - head, 10 ** len(fixed) * (10 ** len(period) - 1))
    return -value if match["sign"] else value


def _scale_of(words: list[str]) -> int | None:
    """Return what the words after a number multiply it by (units: 1); None where they mean anything else."""
    scale = 1
    for position, word in enumerate(words):
        if word in _NOT_UNITS or word.endswith(("teenths", "tieths")):
            return None
        if word in _SCALES:
            if position and words[position - 1] not in _SCALES:
                return None
            scale *= _SCALES[word]
    return scale


def _magnitude(match: re.Match[str]) -> Fraction | None:
    """Return the unsigned value of a `_SIGNED` match; None for a part that is no number, or 0 below."""
    if match["decimal"] is not None:
        value = _decimal(match["decimal"])
        ten = match["ten"] or match["ten2"]
        if value is None or ten is None:
            return value
        return value * Fraction(10) ** int(ten) if abs(int(ten)) <= _MAX_TEN_EXPONENT else None
    whole = match["whole"] or match["whole2"]
    top = _decimal(_bare(match["top"] or match["top2"]))
    bottom = _decimal(_bare(match["bottom"] or match["bottom2"]))
    if top is None or not bottom or (whole is not None and (top < 0 or bottom < 0)):
        return None
    return int(whole) + top / bottom if whole else top / bottom


def _bare(part: str) -> str:
    return part[1:-1].strip() if part.startswith("{") else part


_SIGNED_DECIMAL = re.compile(rf"-?(?:{NUMBER})", re.ASCII)


def _decimal(text: str) -> Fraction | None:
    if len(text) > 1_000 or _SIGNED_DECIMAL.fullmatch(text) is None:
        return None
    return _fraction(text.replace(",", ""))


def _fraction(text: str) -> Fraction:
    """Return the value of a decimal; `Fraction` itself parses text five times as slowly."""
    whole, _, part = text.partition(".")
    return Fraction(int(whole + part), 10 ** len(part)) if part else Fraction(int(whole))
