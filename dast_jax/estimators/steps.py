"""The steps of a solution: its numbers and operators in order, and what only states the answer again.

RFT (arXiv 2308.01825) tells reasoning paths apart by their equations. [ours] Here the chain of all numbers
and operators is compared, so that it works without calculator annotations; words, units, brackets, thousands
separators and list markers do not matter, nor how an operator is written.
"""

from __future__ import annotations

import re

__all__ = ["chain_of", "normalize_text", "without_repeated_answers"]


def normalize_text(text: str) -> str:
    """Return `text` with case and white space normalized."""
    return " ".join(text.casefold().split())


# --- numbers and operators ------------------------------------------------------------------------------

_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_EMPHASIS = re.compile(r"(?<![\w)\]])\*\*([^*\n]+)\*\*")
_MARKER = re.compile(r"^[ \t]*(?:[-*•]|(?:step[ \t]+)?\d{1,2}[.):])[ \t]+(?=\S)", re.M | re.I)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")

_TOKEN = re.compile(
    r"(?P<tag></?[A-Za-z]+>)"
    r"|(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<operator>[-=]>|\*\*|\\(?:times|cdot|div|leq?|geq?|neq?)(?![A-Za-z])|[-+*/^=<>×·∙÷−–≤≥≠])"
    r"|(?P<letter>(?<![A-Za-z\\])[A-Za-z](?![A-Za-z]))"
    r"|(?P<ignored>\\(?:left|right|text|mathrm|quad)(?![A-Za-z]))"
    r"|(?P<word>\n|####|\\?[^\W\d_]{2,}(?:[ ,']+[^\W\d_]{2,})*)"
)
_OPERATORS = {
    "->": "=", "=>": "=", "**": "^", "−": "-", "–": "-", "×": "*", "·": "*", "∙": "*", "÷": "/",
    "\\times": "*", "\\cdot": "*", "\\div": "/", "\\le": "≤", "\\leq": "≤", "\\ge": "≥", "\\geq": "≥",
    "\\ne": "≠", "\\neq": "≠",
}  # fmt: skip


def chain_of(text: str) -> str:
    """Return the numbers and operators of `text` in order, as expressions separated by spaces.

    An operator counts where an operand follows it: a number, or a single letter beside an operator or a
    number. A minus sign after words belongs to its number alone. An expression that only states again the
    one before it, or the right side of that one's last equation, is left out: however often the answer is
    stated, the chain is the same. Empty where there is no number.
    """
    kept: list[str] = []
    for expression in _expressions(text):
        if not kept or (expression != kept[-1] and expression != kept[-1].rpartition("=")[2]):
            kept.append(expression)
    return " ".join(kept) if any(character.isdigit() for each in kept for character in each) else ""


def _expressions(text: str) -> list[str]:
    """Return the maximal runs of operands that operators join."""
    if "<<" in text:
        text = _ANNOTATION.sub("", text)
    if "**" in text:
        text = _EMPHASIS.sub(r"\1", text)
    if "frac" in text:
        text = _FRACTION.sub(r"(\1)/(\2)", text)
    text = _MARKER.sub("", text)
    found: list[str] = []
    joined, held = "", ""  # operators since the last operand; a letter that is one if an operator follows it
    apart, number_end = True, -1  # whether there were words since the last operand; where a number ended
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind == "ignored":
            continue
        if kind == "letter" and token in "xX" and number_end >= 0 and _before_number(text, match.end()):
            kind, token = "operator", "*"
        if kind == "operator":
            joined += _OPERATORS.get(token, token)
        elif kind in ("word", "tag"):
            joined = joined if token == "\n" else ""
            held, apart = "", True
        elif kind == "letter" and match.start() == number_end:
            found[-1] += token
        elif kind == "letter" and (not joined or (apart and not held)):
            joined, held = "", token
        else:
            operand = token if kind == "letter" else _number(token)
            if held and joined:
                found.append(held)
            signed = apart and joined == "-" and text[match.start() - 1] in "-−–"
            if joined and found and not (signed and not held):
                found[-1] += joined + operand
            else:
                found.append(joined + operand)
            joined, held, apart = "", "", False
        number_end = match.end() if kind == "number" else -1
    return found


def _before_number(text: str, end: int) -> bool:
    """Return whether a number follows `end`, after spaces and a currency sign."""
    return text[end : end + 8].lstrip(" $(")[:1].isdigit()


def _number(token: str) -> str:
    """Return the number in one spelling: 1,250.50 as 1250.5, and .5 as 0.5."""
    whole, _, decimals = token.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + ("." + decimals if decimals else "")


# --- the answer, stated again ---------------------------------------------------------------------------

_SENTENCE = re.compile(r"\n+|(?<=[.!?])\s+")
_STATES_ANSWER = re.compile(r"####|\\boxed|\banswer\b")


def without_repeated_answers(text: str) -> str:
    """Return `text` normalized, without sentences or lines that state the answer as an earlier one did."""
    normal = text.casefold()
    if len(_STATES_ANSWER.findall(normal)) < 2:
        return normalize_text(normal)
    stated: set[str] = set()
    kept: list[str] = []
    for sentence in _SENTENCE.split(normal):
        sentence = normalize_text(sentence)
        if _STATES_ANSWER.search(sentence):
            if sentence.rstrip(".!") in stated:
                continue
            stated.add(sentence.rstrip(".!"))
        kept.append(sentence)
    return " ".join(filter(None, kept))
