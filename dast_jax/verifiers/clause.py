"""Reading the answer from the sentence that announces it: what follows "answer is" or `####`.

A sentence may deny a number ("not 4 but 5"), name several ("$2$ or $3$, both work") or only bound it ("at
least 5"). What it denies is skipped, several together are a list, and where it gives no answer
itself the sentence as a whole is returned, which equals no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from dast_jax.verifiers.bounds import AROUND, is_bounded
from dast_jax.verifiers.denial import DENIED_AFTER, NEGATION, denied
from dast_jax.verifiers.guard import looks_like_code
from dast_jax.verifiers.normalize import clean, parse_number
from dast_jax.verifiers.pointing import introduces_value, turns
from dast_jax.verifiers.prose import PROSE_NUMBER, is_prose, without_bold
from dast_jax.verifiers.sentences import SENTENCE_END, STOP

__all__ = ["answer_of_clause", "only_candidate", "sentence_end"]

_TAIL = 4_000


def answer_of_clause(text: str) -> str | None:
    """Return the answer at the start of `text`, which follows a marker; None where there is none."""
    if (word := text[:_TAIL].strip(" \t\r\n:*=")).isalnum():
        return word
    text = without_bold(text[:_TAIL]).lstrip(" \t\r\n:*=")  # Markdown's bold and colons after the marker
    clause = text[: sentence_end(text)].strip().rstrip("*").rstrip()
    if not clause or looks_like_code(clause):
        return clause or None
    opening = _formula_at(clause, 0) if clause[0] in "$\\" else None
    if opening is None or is_prose(opening.text):
        return _chosen(clause) if is_prose(clause) else clause
    if not clause[opening.end :].strip(" .,;:!?"):
        return opening.text or None
    return _chosen(clause)


# --- formulas and the ends of sentences ---------------------------------------------------------------


class _Item(NamedTuple):
    """A formula or a number in a sentence."""

    start: int
    end: int
    text: str
    is_formula: bool


_CLOSERS = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_DOLLARS = re.compile(r"\$((?:\\.|[^$\\])++)\$", re.DOTALL)


def _formula_at(text: str, at: int) -> _Item | None:
    """Return the formula whose delimiter opens at `at`; None where nothing opens or closes there."""
    closer = _CLOSERS.get(text[at : at + 2])
    if closer is not None:
        end = text.find(closer, at + 2)
        return _Item(at, end + 2, text[at + 2 : end].strip(), True) if end > at + 2 else None
    match = _DOLLARS.match(text, at)
    if match is None:
        return None
    inner = match[1]
    if "\n" in inner and "\\begin" not in inner:
        return None
    if text[match.end() : match.end() + 1].isdigit():
        return None  # two prices, `$18 or $20`
    return _Item(at, match.end(), inner.strip(), True)


_TOKEN = re.compile(rf"\\(?:begin|end)(?![a-zA-Z])|\\[^\n]|[{{}}$\n]|{STOP}")


def sentence_end(text: str) -> int:
    """Return where the first sentence ends: a stop or line end outside formulas, groups, environments."""
    stop = SENTENCE_END.search(text)
    if stop is None:
        return len(text)
    end = stop.start()
    if text.find("$", 0, end) < 0 and text.find("\\", 0, end) < 0 and text.find("{", 0, end) < 0:
        return end
    depth = at = 0
    unshielded = None
    while (token := _TOKEN.search(text, at)) is not None:
        at, kind = token.end(), token[0]
        if kind in ("{", "\\begin"):
            depth += 1
        elif kind in ("}", "\\end"):
            depth = max(0, depth - 1)
        elif kind in ("$", "\\(", "\\["):
            formula = _formula_at(text, token.start())
            if formula is not None and not (kind == "$" and is_prose(formula.text)):
                at = formula.end
        elif kind[0] != "\\":
            if depth == 0 and not (kind == "\n" and _continues(text, token.start())):
                return token.start()
            unshielded = token.start() if unshielded is None else unshielded
    return len(text) if depth == 0 or unshielded is None else unshielded


def _continues(text: str, at: int) -> bool:
    """Return whether a list of formulas continues beyond the line end at `at`."""
    return text[:at].rstrip().endswith(",") and text[at:].lstrip().startswith("$")


def _items(clause: str) -> list[_Item]:
    """Return the formulas of a sentence and the numbers outside them, in order."""
    formulas = list(_formulas(clause))
    items, rest = [], iter([*formulas, None])
    after = next(rest)
    for match in PROSE_NUMBER.finditer(clause):
        while after is not None and after.end <= match.start():
            items.append(after)
            after = next(rest)
        if after is None or match.end() <= after.start:
            items.append(_Item(match.start(), match.end(), match[0].strip(), False))
    return items + [formula for formula in (after, *rest) if formula is not None]


def _formulas(text: str) -> Iterator[_Item]:
    at = 0
    while (token := _OPENER.search(text, at)) is not None:
        formula = _formula_at(text, token.start()) if token[0] in ("$", "\\(", "\\[") else None
        if formula is None or is_prose(formula.text):
            at = token.end()
        else:
            at = formula.end
            if any(c.isalnum() for c in formula.text) and not _is_named(text, formula):
                yield formula


_OPENER = re.compile(r"\\[^\n]|\$")
_NAME_ONLY = re.compile(
    r"[a-zA-Z](?:_\w|_\{\w+\})?(?:\([^()]{0,20}\))?|[A-Z]{2,4}|\\(?:angle|triangle|overline)\b.{0,20}"
)
_HAS_VALUE = re.compile(r"[^.!?$\\]{0,40}?\s(?:is|are|was|equals?|be|=)\s|\s*=\s*\$")


def _is_named(text: str, formula: _Item) -> bool:
    """Return whether a formula only names what has the answer as its value: "the largest $n$ is 34"."""
    return (
        _NAME_ONLY.fullmatch(formula.text) is not None
        and _HAS_VALUE.match(text, formula.end, formula.end + AROUND) is not None
    )


# --- which of them is the answer ----------------------------------------------------------------------


def _chosen(clause: str) -> str:
    """Return the answer in a sentence: its first formulas, else numbers, not denied; or all of it."""
    groups = _groups(clause, _items(clause))
    refused = _denied(clause, groups)
    candidates = [group for group, no in zip(groups, refused, strict=True) if not no]
    candidates.sort(key=lambda group: not any(item.is_formula for item in group))
    if not candidates:
        return _words_of(clause)
    group = candidates[0]
    if not _is_pointed_at(clause, group, any(refused)) or is_bounded(
        clause, group[0].start, group[-1].end, introduced=True
    ):
        return _words_of(clause)
    alone = len(group) == 1
    if alone and _EITHER.search(clause[max(0, group[0].start - AROUND) : group[0].start]):
        return _words_of(clause)
    if signs := _signs(clause, group):
        return _result(group, signs) or _words_of(clause)
    return group[0].text if alone else ", ".join(_distinct(group))


def _words_of(clause: str) -> str:
    """Return a sentence that states no number, in quotation marks where it reads as one (`5 pairs`)."""
    return clause if parse_number(clean(clause)) is None else f"“{clause}”"


def only_candidate(sentence: str) -> str | None:
    """Return the answer of an unmarked sentence: its one quantity or formula; None where it has another
    number of them, denies or bounds it, lists alternatives, or holds digits that are no whole quantity.
    """
    items = _items(sentence)
    groups = _groups(sentence, items)
    if not items or (len(groups) > 1 and not any(hint in sentence for hint in _DENIAL_HINTS)):
        return None  # nothing denies all but one
    kept = [group for group, no in zip(groups, _denied(sentence, groups), strict=True) if not no]
    if len(kept) != 1:
        return None
    group = kept[0]
    signs = _signs(sentence, group)
    introduced = _is_pointed_at(sentence, group, len(kept) < len(groups))
    if not (signs or introduced) or is_bounded(
        sentence, group[0].start, group[-1].end, introduced=introduced
    ):
        return None
    lowered = sentence.lower()
    if (
        _has_other_digits(sentence, items)
        or _COMPARED.search(lowered)
        or _is_premise(sentence, group[0].start)
    ):
        return None
    if signs:
        return _result(group, signs)
    if _OTHERS_SAY.search(lowered) or _is_denied_somewhere(sentence, groups, group):
        return None
    if (
        _is_subject(sentence, group)
        or len(_distinct(group)) > 1
        or _EITHER.search(sentence[: group[0].start])
    ):
        return None
    text = group[0].text.rstrip(".")
    return None if group[0].is_formula and _SEVERAL.search(text) else text


_DENIAL_HINTS = (
    "not", "n't", "n’t", "never", "nor", "none", "without", "except", "unlike", "other than", "instead",
    "is wrong", "is incorrect", "is false", "no longer", "far from", "thing but", "all but", "is impossible",
)  # fmt: skip

_COMPARED = re.compile(
    r"\b(?:more|less|fewer|greater|larger|smaller|higher|lower) than\b|\bbetween\b|\bat (?:least|most)\b"
    r"|\b(?:upper|lower) (?:bound|limit)\b|\b(?:bounded|limited)\b|\b(?:minimum|maximum) (?:of )?\W*\d"
)
"""`more than 42`, `between 1 and 2`: without a mark even `5, which is more than 3` is none."""

_OTHERS_SAY = re.compile(
    r"\b(?:guess|claim|predict|hope|wish)(?:d|e?s|ed)?\b|\b(?:said|says|thought|believed|used to be|at first"
    r"|previously|originally|initially|according to)\b|\bexpected\b(?! (?:value|number|gain|profit|score))"
    r"|\bbefore\W*$"
)
"""`He guessed 5`, `It used to be 5`: somebody's number, or one that has changed."""


def _is_pointed_at(sentence: str, group: list[_Item], turned: bool) -> bool:
    """Return whether what is before a group introduces it; after something denied, `but` does too."""
    before = sentence[max(0, group[0].start - AROUND) : group[0].start]
    if introduces_value(before):
        return True
    return turns(before) and (turned or NEGATION.search(before.lower()) is not None)


_OPENS = re.compile(r"\W*(?:(?:so|thus|hence|therefore|then|and|now|finally)\b\W*)*", re.IGNORECASE)
_SUBJECT = re.compile(
    r"\W*$|[,;:—(]"
    r"|\s*(?:is|are) (?:the|our|her|his|their) (?:final |correct |right )?(?:answer|result|total|solution)\b"
    r"|(?:\s+(?!is\b|was\b|divides\b|times\b)[a-z][a-z-]*){1,3}?(?:\W*$|\s+(?:are|were|is|was|remain|will"
    r"|have|had|can"
    r"|need|left|each|of|per|in|on|at|for|from|to|and|with|today|now)\b)",
    re.IGNORECASE,
)


def _is_subject(sentence: str, group: list[_Item]) -> bool:
    """Return whether a sentence opens with its candidate and says something else of it: `7 divides it`."""
    opening = _OPENS.match(sentence)
    opens = opening is not None and opening.end() >= group[0].start
    return opens and _SUBJECT.match(sentence, group[-1].end) is None


def _is_denied_somewhere(sentence: str, groups: list[list[_Item]], group: list[_Item]) -> bool:
    """Return whether a sentence without a mark denies what its candidate is said of.

    `Nobody has 5 apples`, `5 is not enough`. What denies something else (`6, not 5`) does not count.
    """
    lowered = sentence.lower()
    start, end = group[0].start, group[-1].end
    if len(lowered) != len(sentence):
        return True
    others = [other[0].start for other in groups if other is not group]
    for match in NEGATION.finditer(lowered):
        if match.start() < start:
            if _TURN.search(sentence, match.end(), start) is None:
                return True
        elif match.start() >= end and not any(at > match.start() for at in others):
            contrast = lowered[: match.start()].rstrip().endswith((",", "("))  # `5, not six`
            if not contrast:
                return True
    return False


_PREMISE = re.compile(
    r"\W*(?:since|because|as|given|although|though|while|whereas|when|if|to|in order to|after|once|until)\b"
    r"|\W*(?:recall|remember|note|notice|observe)\b"
    r"|.*\b(?<!\bi )(?<!\bwe )(?:think|suggest|believe|claim|argue|feel|according to)s?\b"
    r"|.*\b(?:at|for|when|if|with|from|near|as)\s+\$?[a-zA-Z]\s*=\s*$",
    re.IGNORECASE,
)


def _is_premise(sentence: str, start: int) -> bool:
    """Return whether a candidate is in what a sentence starts from: `Since a tile is 1 foot wide, …`."""
    return _PREMISE.match(sentence[:start]) is not None and "," not in sentence[:start]


_SEVERAL = re.compile(r"[<>,;≤≥≠]|\\(?:leq?|geq?|neq?|lt|gt|in|pm|mp|sim|approx|to|mid|cup)(?![a-zA-Z])|\\\{")
"""A relation, a pair or a set: of an unmarked formula nobody knows whether it is the answer."""


def _has_other_digits(sentence: str, items: list[_Item]) -> bool:
    """Return whether there are digits or signs outside of the candidates: `10^6`, `room 3B`, `3,5`."""
    at = 0
    rest = []
    for item in items:
        rest.append(sentence[at : item.start])
        at = item.end
    rest.append(sentence[at:])
    if "\\" in sentence:
        rest = [_TEXT_COMMAND.sub(" ", part) for part in rest]
    return _MATHEMATICS.search(" ".join(rest)) is not None


_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}")
_MATHEMATICS = re.compile(r"\d|\\(?:sqrt|pi|frac|infty|cdot|times)|[√π∞^\[\]{}]|\b(?:pi|sqrt)\b")


_EITHER = re.compile(r"\beither\s+(?:[a-zA-Z]\s*=\s*)?$", re.IGNORECASE)
_NAME = r"(?:(?P<name>[a-zA-Z](?:_\w)?)\s*=\s*)?"
_AND = re.compile(rf"\s*(?:,\s*)?\band\b\s*{_NAME}|\s*&\s*", re.IGNORECASE)
_COMMA = re.compile(rf"\s*,\s*{_NAME}")
_OR = re.compile(
    r"(?P<unit>(?:\s+[a-zA-Z]+\.?){0,4}?)\s*(?:(?P<comma>,)|\()?\s*(?:\band/)?\bor\b"
    rf"(?:\s+(?:maybe|perhaps|possibly|probably|even|rather|else|just|about|the))*\s*{_NAME}",
    re.IGNORECASE,
)
_UNIT_WORD = r"\s+(?!(?:and|or|so|then|but|is|are|was|where|with|when|than|if|by)\b)[a-zA-Z]{2,}"
_CALCULATION = re.compile(
    rf"\s*[-–—−+*/×÷=·]\s*|\s+(?:x|to|times|plus|minus|divided by|multiplied by)\s+"
    rf"|(?:{_UNIT_WORD}){{1,2}}(?:/[a-zA-Z]{{2,}})?\s*(?:[+*/×÷=·]|\bx\b)\s*"
)
_OPERATORS = frozenset("-–—−+*/×÷=·")
_OPERATOR_WORDS = frozenset(["x", "to", "times", "plus", "minus", "by"])


def _calculates(gap: str) -> bool:
    """Return whether what is between two numbers is an operator; most gaps have no such sign or word."""
    if _OPERATORS.isdisjoint(gap) and _OPERATOR_WORDS.isdisjoint(gap.split()):
        return False
    return _CALCULATION.fullmatch(gap) is not None


_DASH = re.compile(r"\s+[-–—−]\s+")
_SIGN_AFTER = re.compile(r"\s*[-–−+*/×÷=·]")
_PLACES = re.compile(r"\s*(?:decimal|significant|d\.?\s?p|s\.?\s?f|places?|digits?)\b")
_NAMED_BEFORE = re.compile(r"(?<![a-zA-Z])([a-zA-Z](?:_\w)?)\s*=\s*$")
_WORD_AFTER = re.compile(r"\s+[a-zA-Z]")
_MORE = re.compile(r"\s*(?:and|or)\b")
_OWN_CLAUSE = re.compile(r"\s+(?:is|was|of (?:them|these|those|which))\b")


def _groups(clause: str, items: list[_Item]) -> list[list[_Item]]:
    """Return the formulas and numbers that belong together: alternatives, lists, calculations, ranges."""
    groups: list[list[_Item]] = []
    joins: list[str] = []
    for before, item in zip([None, *items], items, strict=False):
        join = _join(clause, before, item) if before is not None else None
        if join is None:
            groups.append([item])
            joins = []
            continue
        group = groups[-1]
        behind = clause[item.end : item.end + AROUND]
        if _is_aside(join, behind, first=not joins):
            groups.append([item])
            joins = []
        else:
            group.append(item)
            joins.append(join)
    return groups


def _is_aside(join: str, behind: str, *, first: bool) -> bool:
    """Return whether the second of two joined items begins a remark: `5, 3 more`, `5, and 3 is left`."""
    if join == "comma":
        return first and _WORD_AFTER.match(behind) is not None and _MORE.match(behind) is None
    return join == "and" and _OWN_CLAUSE.match(behind) is not None


def _gap(clause: str, before: _Item, item: _Item) -> str:
    return clause[before.end : item.start]


def _join(clause: str, before: _Item, item: _Item) -> str | None:
    """Return how two neighbors are joined; None where they are not."""
    gap = _gap(clause, before, item)
    if len(gap) > AROUND:
        return None
    if _calculates(gap):
        if _DASH.fullmatch(gap) and _SIGN_AFTER.match(clause, item.end) is None:
            return None  # `18 - 9 of them sold` is a remark, `18 - 9 = 9` a calculation
        return None if "to" in gap and _PLACES.match(clause, item.end) else "calculation"
    for kind, pattern in (("and", _AND), ("comma", _COMMA)):
        if (match := pattern.fullmatch(gap)) is not None:
            name = match["name"]
            return kind if name is None or name == _name_before(clause, before) else None
    match = _OR.fullmatch(gap)
    if match is None:
        return None
    unit = match["unit"].split()
    if unit and match["comma"]:  # `20 hours, or 300 pages in all` continues with something else
        return "or" if clause[item.end : item.end + AROUND].split()[:1] == unit[:1] else None
    return None if _is_conversion(clause, before, item, match["unit"]) else "or"


def _name_before(clause: str, item: _Item) -> str | None:
    match = _NAMED_BEFORE.search(clause[max(0, item.start - 12) : item.start])
    return match[1] if match else None


_measures = """
    second minute hour day week month year cent dollar euro pound penny pence percent inch inche feet foot
    yard mile meter metre centimeter kilometer cm mm km m kg gram kilogram ounce liter litre milliliter
    gallon quart pint cup degree radian dozen
"""
_MEASURES = frozenset(_measures.split())
_FIRST_WORD = re.compile(r"\s*([a-zA-Z]+)")


def _is_conversion(clause: str, before: _Item, item: _Item, unit: str) -> bool:
    """Return whether "90 minutes or 1.5 hours" says one thing in two measures, and not two things."""
    first = _measure(before, unit)
    second = _measure(item, clause[item.end : item.end + AROUND])
    return first is not None and second is not None and first != second


def _measure(item: _Item, behind: str) -> str | None:
    if "$" in item.text:
        return "dollar"
    if item.text.endswith("%"):
        return "percent"
    match = _FIRST_WORD.match(behind)
    word = match[1].casefold() if match else ""
    word = word if word in _MEASURES else word.removesuffix("s")
    return word if word in _MEASURES else None


def _signs(clause: str, group: list[_Item]) -> list[str]:
    """Return the signs of a calculation or range between the items of a group."""
    gaps = [_gap(clause, *pair) for pair in pairwise(group)]
    return [gap.strip() for gap in gaps if _calculates(gap)]


def _result(group: list[_Item], signs: list[str]) -> str | None:
    """Return the result of a calculation, `8` of `5 + 3 = 8`; None where it is a range or has none."""
    if not signs[-1].endswith("=") or len(signs) < len(group) - 1:
        return None
    first, last = group[0].text, group[-1].text
    if len(group) == 2 and ("/" in first or "frac" in first):  # `2/3 = 0.67` is two thirds, `6/3 = 2` either
        return last if parse_number(clean(first)) == parse_number(clean(last)) else first
    return last


def _distinct(group: list[_Item]) -> list[str]:
    """Return the texts of a list, without numbers equal to one before them (`1/2 or 50%`)."""
    texts: list[str] = []
    values = []
    for item in group:
        number = parse_number(clean(item.text))
        value = None if number is None else number.value / (100 if number.percent else 1)
        if value is None or value not in values:
            texts.append(item.text.rstrip(" .,;"))
        values.append(value)
    return texts


# --- denied and bounded -------------------------------------------------------------------------------

_TURN = re.compile(r"[,;:—–]|\b(?:but|rather|instead|is|it['’]s)\b", re.IGNORECASE)


def _denied(clause: str, groups: list[list[_Item]]) -> list[bool]:
    """Return which groups the sentence denies; a denial lasts until the sentence turns ("not 4 but 5")."""
    found: list[bool] = []
    end = 0
    for group in groups:
        start = group[0].start
        before = clause[max(end, start - AROUND) : start]
        no = denied(before)
        no = no or (bool(found) and found[-1] and _TURN.search(clause[end:start]) is None)
        end = group[-1].end
        found.append(no or DENIED_AFTER.match(clause[end : end + AROUND]) is not None)
    return found
