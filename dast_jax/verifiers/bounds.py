"""Bounds and parts: words next to a number that make it less than an answer, "at least 5", "half of 5"."""

from __future__ import annotations

import re

from dast_jax.verifiers.denial import NAME_THEN
from dast_jax.verifiers.normalize import CHANGING

__all__ = ["AROUND", "is_bounded"]

AROUND = 80
"""Characters next to a number or formula in which its denial, comparison or unit is searched for."""

_RELATION = r"[<>≤≥≠]=?|!=|\\(?:leq?|geq?|neq?|lt|gt)(?:slant)?(?![a-zA-Z])"
_UP_TO = r"(?:\s+(?!(?:is|are|was|were|equals?)\b)[a-zA-Z]+)"
_OPERATION_OF = (
    r"(?:roots?|square|cube|power|half|halves|thirds?|fourths?|quarters?|fifths?|tenths?|multiples?|factorial"
    r"|logarithm|log|sine|cosine|tangent|reciprocal|inverse|opposite|negative|percent|%|sum|product|quotient"
    r"|factors?|divisors?|max(?:imum)?|min(?:imum)?|upwards?|excess|short|shy)"
)
"""`the square root of 5`, `half of 5`: the number is not the answer, and nothing here calculates it."""
_COUNT = (
    r"(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred"
    r"|thousand|half|thirds?|quarters?)"
)
_LABELED = (
    r"(?:steps?|fig(?:ure)?|table|lines?|eqn?|equations?|pages?|section|chapter|theorem|lemma|corollary"
    r"|proposition|version|volume|series|model"
    r"|problem|question|exercise|example|case|part|row|column|item|option|method|appendix|formula|rule|stage)"
)
"""`step 5`, `Figure 5`: a label is no quantity."""

_STILL_BOUNDS = re.compile(r"(?:[=:.]|\b(?:lines?|equations?|to))[\s*_(#]*$", re.IGNORECASE)
"""`half of x =`, `step:`, `Fig.`, `equation`, `up to`: `pointing` takes only these for introductions.
The other ends of `_BOUND_BEFORE` it refuses: they are for calculations (`less than 2 + 3 = 5`)."""

_BOUND_BEFORE = re.compile(
    rf"(?:\bthan{_UP_TO}{{0,3}}|\bat\s+(?:least|most){_UP_TO}{{0,2}}|\bbetween{_UP_TO}{{0,2}}|\bup\s+to"
    rf"|\b(?:twice|double|triple|thrice|half|{_OPERATION_OF}\s+of)(?:\s+(?:the|a|an|of))*"
    rf"|\b(?:almost|nearly|beyond|past|before|after|within|from|until|since|minus|negative)"
    rf"|\b{_COUNT}\s+(?:over|in|of|out of|times|plus|divided by|multiplied by)|\b(?:divisible by"
    rf"|proportional to|congruent to)"
    rf"|\bas\s+(?:many|much|few|little|high|low)\s+as|\b{_LABELED}\.?[\s#*:]*"
    r"|\bexceed(?:s|ed|ing)?|(?:^|\b(?:is|be|just|slightly|well|far|bit|little|and|or)\s)\s*(?:above"
    r"|below|over|under)"
    rf"|(?<![-=])(?:{_RELATION})|[\w)}}\]]\s*[+/×÷·]){NAME_THEN}[\s*_(#]*$|[\w)]-$"
)
_COMPOUND = (
    r"\s?(?:(?:hour|hr|minute|min|yard|pound|lb|week|day|year|month|meter|metre|kilometer|kilometre|kilogram"
    r"|gallon|quart|mile|degree)s?|feet|foot|ft|km|kg|m|h)\.?,?\s*(?:and\s+)?\d[\d./]*(?:\s?(?:(?:minute"
    r"|min|second"
    r"|sec|ounce|day|month|week|hour|hr|centimeter|centimetre|meter|metre|gram|quart|pint|cup|yard)s?"
    r"|inch(?:es)?"
    r"|in|feet|ft|oz|cm|m|s|g)\b|(?=\W|$))|['′]\s?\d"
)
"""One quantity in two measures: `5 hours and 30 minutes`, `5 feet 3 inches`, `5'3"`."""

_BOUND_AFTER = re.compile(
    r"\s*(?:[a-zA-Z]+\s+){0,2}(?:(?:or|and)\s+(?:more|less|fewer|greater|higher|lower|larger|smaller"
    r"|above|below"
    r"|over|under|up|so|thereabouts)|to the (?:power|square|cube|second|third|\w+th|[a-z])"
    r"|(?:times|plus|minus|divided by|multiplied by)\s+(?:as|the|that|more|change|[a-z]\b)"
    r"|or\s+(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)|at\s+(?:least|most)"
    r"|(?:below|under|above)\s+(?:zero|par|average))\b"
    rf"|\s*(?:%|percent)?\s*(?:out\s+of\s+(?:the\s+|every\s+)?(?:\$?\d|{_COUNT})|(?:of|in|over"
    rf"|per)\s+(?:the\s+|every\s+)?\$?\d)"
    r"|[\s%]*(?:more|less|fewer|greater|off)\s+than\s+(?:that|it|[a-z]\b|\$?\d)|\s+on[.,]?$"
    r"|\s+and\s+(?:(?:an?|one|two|three|some)\s+\w*\s*(?:bit|half|thirds?|quarters?|fourths?|fifths?"
    r"|tenths?)|something|over)\b"
    r"|\s*\(?\s*(?:in\s+)?(?:base|mod)\b|\s+quarters?\s+of\b|\s+(?:square\s+)?roots?\s+(?:of\s+)?\d"
    r"|-?(?:digits?|fold)\b|\s*\.?\)\s+[A-Z][a-z]|\s+(?:short|off|shy|less|fewer)\b(?=\W*$)"
    r"|-[a-zA-Z]|\s+times\s+\w+er\b"
    rf"|{_COMPOUND}"
    rf"|\s*(?:{_RELATION})|\+(?![\s$]*[\d\\])",
    re.IGNORECASE,
)
_NEXT_WORD = re.compile(r"\s+(?:(?:decimal|significant)\s+)?([a-zA-Z]+)")
_CHANGING = CHANGING | {"pair", "pairs", "couple", "couples", "digit", "digits", "half", "tens"}
"""In a sentence, that is: a reference and a box may count in pairs."""
_SCALED = re.compile(r"\s+[kKM](?=[\s.,;]|$)|\s+(?:decimal|significant)\s")


def is_bounded(clause: str, start: int, end: int, *, introduced: bool = False) -> bool:
    """Return whether a sentence only bounds what is at start:end, or has it as part of a formula.

    "at least 5", "5 or more", "2x + 5". With `introduced`, `pointing` found what is directly before to
    introduce a value.
    """
    before, after = clause[max(0, start - AROUND) : start], clause[end : end + AROUND]
    word = _NEXT_WORD.match(after)
    if word is not None and (word[1].lower() in _CHANGING or word[1].endswith(("teenths", "tieths"))):
        return True
    if _SCALED.match(after) is not None:
        return True
    if _BOUND_AFTER.match(after) is not None:
        return True
    if introduced and _STILL_BOUNDS.search(before) is None:
        return False
    return _BOUND_BEFORE.search(before.lower()) is not None
