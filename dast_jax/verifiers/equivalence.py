"""Exact comparison of two answers, before any symbolic work: what the text alone decides.

`compare_math` returns `Comparison.EQUAL` or `DIFFERENT` with a reason, or None where only symbolic
comparison can decide. It never evaluates anything.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from dast_jax.verifiers.normalize import Number, clean, is_words, parse_number, text_key
from dast_jax.verifiers.prose import is_prose

__all__ = [
    "Comparison",
    "Tolerance",
    "compare_math",
    "compare_number",
    "numbers_equal",
    "right_side",
    "split_parts",
    "without_unit",
]


class Comparison(NamedTuple):
    """Whether two answers are equal, and how that was decided."""

    equal: bool
    reason: str


class Tolerance(NamedTuple):
    """How far a number may be from the reference: `amount` itself, or (`relative`) times the reference."""

    amount: Fraction
    relative: bool

    def allows(self, reference: Fraction, answer: Fraction) -> bool:
        """Return whether `answer` is close enough to `reference`."""
        return abs(answer - reference) <= self.amount * (abs(reference) if self.relative else 1)


def compare_math(
    reference: str, answer: str, percent: str = "either", tolerance: Tolerance | None = None
) -> Comparison | None:
    """Compare two answers of the `math` family; None where it takes symbolic comparison.

    `percent` is one of `options.PERCENT_RULES`; without a `tolerance` numbers are compared exactly.
    """
    left, right = clean(reference), clean(answer)
    if ("=" in left) != ("=" in right):
        left_value, right_value = right_side(left), right_side(right)
        if left_value is None or right_value is None:
            return _same_text(reference, answer) or Comparison(False, "an equation")
        left, right = left_value, right_value
    if not right:
        return Comparison(False, "empty answer")
    a, b = parse_number(left), parse_number(right)
    if a is not None and b is None:
        right = without_unit(left, right)
        b = parse_number(right)
    if a is not None and b is not None:
        return _numbers(a, b, percent, tolerance)
    if (same := _same_text(reference, answer)) is not None:
        return same
    for different in (
        _sentence,
        _one_relation,
        _indexed,
        _colons,
        _one_bracketed,
        _brackets,
        _lists,
        _words,
        _letter_case,
    ):
        verdict = different(left, right)
        if verdict is not None:
            return verdict
    return None


def compare_number(
    reference: str, answer: str, percent: str = "either", tolerance: Tolerance | None = None
) -> Comparison:
    """Compare two plain numbers; anything that is no plain number is different."""
    left, right = right_side(clean(reference)) or "", right_side(clean(answer)) or ""
    a, b = parse_number(left), parse_number(without_unit(left, right))
    if a is None or b is None:
        return Comparison(False, "not a plain number")
    return _numbers(a, b, percent, tolerance)


def _numbers(a: Number, b: Number, percent: str, tolerance: Tolerance | None) -> Comparison:
    if tolerance is None:
        return _EXACT[numbers_equal(a, b, percent)]
    near = any(tolerance.allows(a.value, value) for value in _readings(a, b, percent))
    return Comparison(near, "numbers within the tolerance")


_EXACT = (Comparison(False, "exact numbers"), Comparison(True, "exact numbers"))


def _readings(a: Number, b: Number, percent: str) -> list[Fraction]:
    """Return the values that `b` may have next to `a`, where only one of them has a percent sign."""
    if a.percent == b.percent:
        return [b.value]
    scale = Fraction(100) if a.percent else Fraction(1, 100)
    readings = {"fraction": [b.value * scale], "unit": [b.value]}
    return readings.get(percent, [b.value * scale, b.value])


def numbers_equal(a: Number, b: Number, percent: str = "either") -> bool:
    """Return exact equality; a percent sign on one side only is read by the rule `percent`."""
    if a is b:  # equal texts, read once
        return True
    if a.percent == b.percent:
        return a.value.as_integer_ratio() == b.value.as_integer_ratio()
    written, plain = (a.value, b.value) if a.percent else (b.value, a.value)
    as_fraction = percent in ("either", "fraction") and written == plain * 100
    as_unit = percent in ("either", "unit") and written == plain
    return as_fraction or as_unit


def _same_text(reference: str, answer: str) -> Comparison | None:
    return Comparison(True, "same text") if text_key(reference) == text_key(answer) else None


_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)")
_RELATION = re.compile(
    r"[<>≤≥≠≡]|!=|:=|==|\\(?:leq?|geq?|neq?|not|lt|gt|equiv|Rightarrow|implies|to|iff|pmod|bmod)(?![a-zA-Z])"
)
_NAME = re.compile(
    r"\\?[A-Za-z](?:_\{?\w+\}?)?'?|[A-Z]{2,4}|\\?[A-Za-z]+|(?:\\text|\\mathrm|\\operatorname)\s*\{[^{}]*\}"
    r"|(?:m\s*)?\\(?:angle|triangle|overline|widehat|vec|mathbf|bar|hat"
    r"|boldsymbol)\s*(?:\{\s*)?\\?[A-Za-z]{1,4}(?:\s*\})?"
    r"|\|[A-Z]{2,3}\|"
)
_PRODUCT = re.compile(r"[a-z]{2}")
_FUNCTION_VALUE = re.compile(r"\\?[A-Za-z]{1,4}(?:_\{?\w+\}?)?(?:\^\{?[-\w()]+\}?|'{1,3})?\s*\([^=]*\)")
_VALUES = re.compile(r"\\(?:[dtc]?frac|sqrt|cdot|times|div|pi|left|right|text\s*\{[^{}]*\}|[,;! $%])")
_OPERATION = re.compile(r"[+*/×÷·^!]|(?<=[\w)}])\s*-|\\(?:[dtc]?frac|sqrt|cdot|times|div)|\s-\s|\s+x\s+")


def right_side(text: str) -> str | None:
    """Return what an answer with `=` says the value is, or the answer without one; None for a true equation.

    Only a name (`x = 5`), a function value (`f(2) = 5`) or a calculation (`2 + 3 = 5`) has its right side
    as its value: `x^2 = 5` and `3 = 5` do not.
    """
    if "=" not in text:
        return text
    sides = [side.strip() for side in _EQUALS.split(text)]
    if _RELATION.search(text) or len(sides) < 2 or not sides[-1] or ("," in sides[-1] and len(sides) > 2):
        return None
    return sides[-1] if all(_has_value(side) for side in sides[:-1]) else None


def _has_value(side: str) -> bool:
    if _NAME.fullmatch(side):
        return _PRODUCT.fullmatch(side) is None
    if _FUNCTION_VALUE.fullmatch(side):
        return True
    rest = _BETWEEN_NUMBERS.sub("", _VALUES.sub(" ", side))
    return _OPERATION.search(side) is not None and not any(c.isalpha() for c in rest)


_BETWEEN_NUMBERS = re.compile(r"(?<=\d)\s+[A-Za-z]{2,}\.?(?=\W|$)|(?<=\s)x(?=\s)")
"""A unit after a number, and the `x` of a product."""


_unit = """
    m s g h L l N J W V A K C F Hz kHz MHz Pa kPa cm mm km nm kg mg ml mL dL ft in yd mi lb lbs oz hr hrs min
    mins sec secs mph kph kmh cal kcal kJ kW kWh eV mol rad deg px KB MB GB TB € £ ¥ EUR USD GBP rupees
    inches feet yards miles meters metres seconds minutes hours days weeks months years dollars cents euros
    hour minute second day week month year meter metre mile foot inch yard person people unit units
"""
_SYMBOLS = "|".join(map(re.escape, sorted(_unit.split(), key=len, reverse=True)))
_UNIT = rf"(?:{_SYMBOLS})(?:\^\{{?-?[1-3]\}}?|[23](?!\d))?"
_WITH_UNIT = re.compile(
    rf"(?P<number>[-+$£€]?[-\d\\][^a-zA-Z=,;]*(?:\\frac[^a-zA-Z=,;]*)?)"
    rf"(?<![/^*·])(?:(?P<gap>\s*){_UNIT}(?:\s*(?:/|\bper\b|\\cdot|\*|·)\s*{_UNIT})*"
    r"|\s*/\s*[a-zA-Z]{2,}|(?<!\s)(?P<attached>[a-z]{4,}))\.?"
)


_ONE_LETTER = re.compile(r"[a-zA-Z](?![a-zA-Z])")


def without_unit(reference: str, answer: str) -> str:
    """Return `answer` without its unit (`42 m/s`, `42 cm^2`, `10weeks`), where the reference is a number.

    Next to digits a lone letter is a variable (`3t`), apart from them it is a unit (`3 m`).
    """
    if parse_number(reference) is None or (match := _WITH_UNIT.fullmatch(answer)) is None:
        return answer
    number = match["number"].strip()
    unit = answer[match.end("number") :]
    attached = match["gap"] == "" and answer[match.end("number") - 1] not in " ~"
    if attached and _ONE_LETTER.match(unit):
        return answer
    word = match["attached"] or "units"
    changes = parse_number(f"1 {word}") != Number(Fraction(1))  # `million`, `squared`
    return answer if changes or parse_number(number) is None else number


# --- what is certainly different though a parser may not see it -----------------------------------------

_DENIAL = re.compile(
    r"\b(?:not|never|neither|nor|none|cannot|without|except|unlike|exceed(?:s|ing)?|above|below|over"
    r"|under|between)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)


def _sentence(a: str, b: str) -> Comparison | None:
    """Compare sentences, which equal only the same words: of "it is not x = 5" a parser would read the 5."""
    if is_prose(b) and not is_prose(a):
        return Comparison(False, "a sentence")
    if _DENIAL.search(b) and not _DENIAL.search(a):
        return Comparison(False, "a denial or a bound")
    return None


_CONGRUENT = re.compile(r"\\(?:equiv|cong|propto|sim|to|mapsto)(?![a-zA-Z])|[≡∝]")
_TWO_SIGNS = re.compile(r"\s*[-+]\s*[-+]")


def _one_relation(a: str, b: str) -> Comparison | None:
    """Compare what a parser reads less of than is written: `x \\equiv 5`, `--5`."""
    if (_CONGRUENT.search(a) is None) != (_CONGRUENT.search(b) is None):
        return Comparison(False, "a relation")
    if _TWO_SIGNS.match(a) or _TWO_SIGNS.match(b):
        return Comparison(False, "two signs")
    return None


_INDEXED = re.compile(r"(?<![a-zA-Z\\^])\d\s*_")
_COLON = re.compile(r"\d\s*:\s*\d")
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def _indexed(a: str, b: str) -> Comparison | None:
    """Compare numbers with an index (`12_7`, base 7), which equal only the same digits and index."""
    if not (_INDEXED.search(a) or _INDEXED.search(b)):
        return None
    plain_a, plain_b = (re.sub(r"[{}\s]|\\text|\\mathrm|\\mbox", "", x) for x in (a, b))
    return Comparison(plain_a == plain_b, "numbers with an index")


def _colons(a: str, b: str) -> Comparison | None:
    """Compare times and ratios (`10:30`), which equal only times and ratios with equal parts."""
    if not (_COLON.search(a) or _COLON.search(b)):
        return None
    parts_a, parts_b = a.split(":"), b.split(":")
    if len(parts_a) != len(parts_b):
        return Comparison(False, "a time or ratio against something else")
    same = all(
        _part_equal(x, y) is True or text_key(x) == text_key(y) for x, y in zip(parts_a, parts_b, strict=True)
    )
    return Comparison(same, "times or ratios")


def _one_bracketed(a: str, b: str) -> Comparison | None:
    """Compare a number with an interval, a tuple or a set (`[42,42]`): they differ."""
    for number, other in ((a, b), (b, a)):
        if parse_number(number) is not None and _bracketed(other) is not None:
            return Comparison(False, "a number against several")
    return None


def _brackets(a: str, b: str) -> Comparison | None:
    """Compare intervals, tuples and sets: other brackets, length or numbers make them different."""
    left, right = _bracketed(a), _bracketed(b)
    if left is None or right is None:
        return None
    (kind_a, parts_a), (kind_b, parts_b) = left, right
    if kind_a != kind_b:
        return Comparison(False, "other brackets")
    if kind_a.startswith("{"):
        return _unordered(parts_a, parts_b)
    if len(parts_a) != len(parts_b):
        return Comparison(False, "a different number of parts")
    equal = [_part_equal(x, y) for x, y in zip(parts_a, parts_b, strict=True)]
    if False in equal:
        return Comparison(False, "a part differs")
    return Comparison(True, "equal parts") if all(equal) else None


def _lists(a: str, b: str) -> Comparison | None:
    """Compare lists of numbers without brackets, in any order; a list and a single number differ."""
    if "," not in a and "," not in b:
        return None
    parts_a, parts_b = (
        split_parts(re.sub(r"\s*,?\s*(?:\\text\{)?\s*\b(?:and|or)\b\s*\}?\s*", ",", x)) for x in (a, b)
    )
    return _unordered(parts_a, parts_b)


def _unordered(a: list[str], b: list[str]) -> Comparison | None:
    """Compare as sets, when every part on both sides is a plain number."""
    values = [[parse_number(clean(part)) for part in parts] for parts in (a, b)]
    if any(value is None or value.percent for side in values for value in side):
        return None
    sets: list[set[Fraction]] = [{value.value for value in side if value is not None} for side in values]
    return Comparison(sets[0] == sets[1], "lists of exact numbers")


def _words(a: str, b: str) -> Comparison | None:
    """Compare words of a language, which equal only the same words and are no products of letters."""
    words_a, words_b = is_words(a), is_words(b)
    if words_a and words_b:
        return Comparison(a.casefold() == b.casefold(), "words")
    for words, other, text in ((words_a, b, a), (words_b, a, b)):
        if words and (len(text) > 3 or parse_number(other) is not None):
            return Comparison(False, "words against something else")
    return None


_COMMAND = re.compile(r"\\text\s*\{[^{}]*\}|\\[a-zA-Z]+")


def _letter_case(a: str, b: str) -> Comparison | None:
    """Compare single letters, and formulas with both cases: a parser would read `A` as `a`."""
    if len(a) == len(b) == 1:
        return Comparison(False, "another letter")
    for side in (a, b):
        letters = {c for c in _COMMAND.sub(" ", side) if c.isalpha()}
        if any(c.isupper() and c.lower() in letters for c in letters):
            return Comparison(False, "one letter in both cases, and not the same text")
    return None


def _part_equal(a: str, b: str) -> bool | None:
    """Return whether two parts are equal where both are plain numbers; None where that is unknown."""
    x, y = parse_number(clean(a)), parse_number(clean(b))
    if x is None or y is None or x.percent or y.percent:
        return None
    return x.value == y.value


def _bracketed(text: str) -> tuple[str, list[str]] | None:
    """Return the kind of bracket around the whole of `text` and its two or more parts, or None."""
    text = text.replace("\\{", "{").replace("\\}", "}").replace("\\lbrace", "{").replace("\\rbrace", "}")
    if len(text) < 2 or text[0] not in _PAIRS or text[-1] not in _PAIRS.values():
        return None
    if _closes_at(text) != len(text) - 1:
        return None
    parts = split_parts(text[1:-1])
    return (text[0] + text[-1], parts) if len(parts) > 1 else None


def _closes_at(text: str) -> int:
    """Return where the bracket that opens `text` closes; kinds may differ, as in `(1,2]`."""
    depth = 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return i
    return -1


_BRACKET = re.compile(r"[()\[\]{}]")


def split_parts(text: str) -> list[str]:
    """Return the parts between top-level commas."""
    if _BRACKET.search(text) is None:
        return [part.strip() for part in text.split(",")]
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]
