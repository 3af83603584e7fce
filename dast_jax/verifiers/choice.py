"""Answers that are the label of a choice: `B`, `(B)`, `option 2`, several as `A, C`.

A label counts where a sentence points at it: enclosed (`(B)`), named (`option B`), opening what follows a
mark, or said to be correct (`B is the best answer`). A capital anywhere else (`vitamin C`) is a word.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dast_jax.verifiers.denial import DENIED_AFTER, denied, retracts
from dast_jax.verifiers.equivalence import Comparison
from dast_jax.verifiers.extract import Extraction
from dast_jax.verifiers.marks import marks, only_empty_boxes
from dast_jax.verifiers.normalize import clean
from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.pointing import AFFIRMED, introduces_label
from dast_jax.verifiers.prose import without_bold
from dast_jax.verifiers.sentences import first_sentence, sentences, with_words
from dast_jax.verifiers.stance import REASON, attributed, names_another, states

__all__ = ["compare_choice", "extract_choice"]

_TAIL = 4_000
_SPAN = 300

_NOUN = r"(?i:options?|choices?|letters?|answers?|statements?|alternatives?)"
_ENCLOSED = r"[(\[{]\s*([A-Za-z1-9])\s*[)\]}]"
_AFTER = r"(?=\s*$|\s*[).:,;/|&\]](?!\d)|\s+(?:and|or|but|because|since|as|which|is|not)\b)"
_BARE = rf"(?<![\w'’.$])([B-HJ-Z](?![\w'’^=+*]|-[a-z])|A{_AFTER}|[a-hj]{_AFTER}|[1-9]{_AFTER})"
_LABEL = rf"(?:{_ENCLOSED}|{_BARE}\)?)"
_HEDGE = (
    r"(?i:(?:(?:most|very|more)\s+)?(?:likely|probably|clearly|definitely|certainly|surely|obviously"
    r"|simply|indeed"
    r"|therefore|thus|still|for sure|in fact|just|either|between|best|both)|the|an?\s+(?=option|choice)"
    r"|(?:correct|right|best)\s+(?=option|choice|answer))"
)
_HEAD = re.compile(rf"[\s*\"'_:]*(?:{_HEDGE}\s+)*(?:{_NOUN}\s+)?{_LABEL}")
_UNSURE = r"(?i:\s+(?:maybe|perhaps|possibly|probably|even|else|both))*"
_NEXT = re.compile(
    rf"[\s*]*(?:,|/|\||;|&|\+|[-=]>|[→⇒∨∪]|\\(?:to|(?:right|long)\w*arrow|lor|vee|cup|cap|land"
    rf"|wedge)(?![a-zA-Z])|(?i:and also|as well as|(?:along |together )?with|plus)\b|\bthen\b"
    rf"|(?i:\band/or\b|\band\b|\bor\b|,\s*and\b|,\s*or\b)|\((?i:or|and)\b"
    rf"|(?=[(\[]\s*[A-Z]\s*[)\]])"
    rf"|(?<=[A-Z])\s+(?=[A-Z](?!\w)))"
    rf"{_UNSURE}\s*(?:{_NOUN}\s+)?{_LABEL}"
)
_FOLLOWED = re.compile(
    rf"{AFFIRMED.pattern}|\s*(?:based|given|due|from|by|in this|with|\$|\d)", re.IGNORECASE
)
"""What may follow a label without parentheses: not `B vitamins`, `E = mc^2`."""
_POINTED = re.compile(
    rf"\b{_NOUN}\s+{_LABEL}|{_ENCLOSED}"
    rf"|(?i:\b(?:choose|chose|pick|select|go with|it is|it['’]s|but|say|be|so|leaving|leaves|thus|hence"
    rf"|选)\s*){_BARE}"
    rf"|{_BARE}(?=\s+(?i:is|are|must be|would be)\s+(?i:the\s+|not\s+|also\s+|in)*"
    r"(?i:correct|right|best|answer|wrong|false|true))"
)
_ALONE = re.compile(rf"[\s*\"'_]*(?:{_ENCLOSED}|([A-Za-z1-9])(?!['’]))\s*(?:[).:](?:\s.*)?)?[\s*\"'_.]*")
_LINE = re.compile(r"^\s*(?:[(\[]\s*[A-Za-z]\s*[)\]]|[A-Z]\s*[).:])\s*\S", re.MULTILINE)
_CONTINUED = re.compile(r"\n\s*(?=(?:or|and)\s)")
_QUOTED = re.compile(r"(?<!\w)(['_])([A-Z])\1(?!\w)")
_SEVERAL_LETTERS = re.compile(r"[A-J]{2,6}")


def extract_choice(text: str, options: VerifierOptions) -> Extraction:
    """Return the label of a choice, `A`–`Z` or `1`–`9`, in capitals; several joined ("A, B") are several.

    In this order: at a mark, whose sentence decides, whatever was said before; the whole text where it is a
    choice (`B`, `(B) palms`); the last sentence of prose that points at one (`(B)`, `option B`, `B is
    correct`) and does not deny it; a first or last line that is a label. A choice by its text has no label.
    """
    text = without_bold(text[-_TAIL:]).replace("`", "").replace("|>", " ")
    if "or" in text or "and" in text:
        text = _CONTINUED.sub(" ", text)
    if "'" in text or "_" in text:
        text = _QUOTED.sub(r"\2", text)
    for mark in marks(text, choices=True):
        span = (
            mark.rest
            if mark.enclosed
            else first_sentence(mark.rest[:_SPAN].lstrip(" \t\r\n:*="), label=True)[0]
        )
        if not mark.enclosed and not span.strip():
            continue
        if not mark.states_answer():
            return Extraction(None, "nothing")
        answer = _in_span(clean(span))
        later = _pointed_at(_without_options(after)) if (after := mark.split()[1].strip(" .*\n")) else None
        return Extraction(answer if later in (None, answer) else None, mark.found)
    if only_empty_boxes(text):
        return Extraction(None, "nothing")
    before, _, last = text.strip().rpartition("\n")
    bare = clean(last)
    if not states("", text.strip().rpartition("\n")[2]) and not before:
        return Extraction(None, "nothing")
    if not before and not _opens_denied(bare) and (answer := _whole(bare)):
        return Extraction(answer, "bare answer")
    if not before and not _opens_denied(bare) and (match := _WITH_TEXT.fullmatch(last.strip())):
        return Extraction(match[1], "bare answer")
    if (answer := _pointed_at(_without_options(text))) is not None:
        return Extraction(answer, "last choice")
    lines = text.strip().split("\n")
    for line, place in ((bare, "last line"), (clean(lines[0]), "first line")):
        if (place == "first line" or len(line) <= 12) and (match := _ALONE.fullmatch(line)):
            rest = line[match.end(match.lastindex or 0) :]
            if (
                len(_LINE.findall(text)) <= 1
                and not _opens_denied(line)
                and (place == "last line" or rest[:1] in (")", ".", ":", ""))
            ):
                return Extraction(_letter(match), place)
    return Extraction(None, "nothing")


def _opens_denied(line: str) -> bool:
    """Return whether a line opens with a label and denies it: `B: no`, `(B) - wrong`."""
    head = _HEAD.match(line)
    return head is not None and DENIED_AFTER.match(line[head.end() :]) is not None


def _whole(bare: str) -> str | None:
    """Return the choice where it is the whole response: `B`, `(B) palms`, `option B`, `A and C`, `AC`."""
    if _SEVERAL_LETTERS.fullmatch(bare) and list(bare) == sorted(set(bare)):
        return ", ".join(bare)
    if match := _ALONE.fullmatch(bare):
        return _letter(match)
    if match := _HEAD.match(bare):
        letters, end = _joined(bare, match)
        if not bare[end:].strip(" .)*]\"'"):
            return ", ".join(letters)
    return None


def _in_span(span: str) -> str | None:
    """Return the choice in what follows a mark: what it opens with, or else the labels it points at."""
    if several := _SEVERAL.fullmatch(span):
        return ", ".join(dict.fromkeys(re.findall("[A-Z]", several[1])))
    if _SEVERAL_LETTERS.fullmatch(span) and list(span) == sorted(set(span)):
        return ", ".join(span)
    if len(span) == 1 and span in _LONE:
        return span.upper()
    span = with_words(span)
    head = _HEAD.match(span)
    if head is None:
        if (named := _TEXT_FIRST.fullmatch(span.strip())) and not _RELATED.search(named[1]):
            return named[2]
        found = [label for label in _labels_in(span) if not label.denied]
        return ", ".join(dict.fromkeys(label.letter for label in found)) or None
    letters, end = _joined(span, head)
    if DENIED_AFTER.match(span[head.end() :]) or not (span[end - 1] in ")]}" or _FOLLOWED.match(span[end:])):
        return None
    if not (rest := span[end:].strip(" .*)")):
        return ", ".join(letters)
    reason = REASON.search(rest.lower())
    others = _labels_in(rest if reason is None else rest[: reason.start()])
    return ", ".join(dict.fromkeys(letters + [label.letter for label in others if not label.denied]))


_WITH_TEXT = re.compile(
    r"[(\[]\s*([A-Z])\s*[)\]]\s+(?!.*\b(?:is|are|was|were|am|be|can|could|may|might|would|will|should"
    r"|must|not|no|if|or|fails"
    r"|seems|looks|makes|does|has|goes)\b|.*n['’]t\b)[^.!?()\n]{1,60}"
)
"""A choice with its text (`(B) palms`), which is no sentence about it (`(B) misreads the text.`)."""
_TEXT_FIRST = re.compile(r"([A-Za-z][\w ,'’-]{0,60}) \(([A-Z])\)[\s.]*")
_RELATED = re.compile(
    r"\b(?:of|in|on|at|by|to|from|with|without|than|but|not|no|never|nor|or|and|if|like|unlike|near|above"
    r"|below|over|under"
    r"|after|before|beside|between|beyond|behind|except|against|about|outside|inside|opposite|one|is|are"
    r"|was|were|be|same)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
"""`wet palms (B)` names a choice by its text; `the one above (B)` relates another to it."""
_LONE = "ABCDEFGHJKLMNOPQRSTUVWXYZabcdefghj123456789"
_SEVERAL = re.compile(r"[(\[]\s*([A-Z](?:\s*,\s*[A-Z])+)\s*[)\]]")


def _joined(text: str, first: re.Match[str]) -> tuple[list[str], int]:
    """Return the label of a match and those joined to it (`A or B`, `(A)(B)`), and where they end."""
    letters, at = [_letter(first)], first.end()
    while (match := _NEXT.match(text, at)) is not None:
        letters.append(_letter(match))
        at = match.end()
    return list(dict.fromkeys(letters)), at


class _Found(NamedTuple):
    letter: str
    denied: bool
    start: int


def _labels_in(sentence: str) -> list[_Found]:
    """Return the labels that a sentence points at, in order, and whether it denies them.

    A denial holds for all labels that follow it joined (`neither (A) nor (B)`, `(A) and (C) are wrong`).
    """
    found: list[_Found] = []
    sentence, at = sentence.lstrip("-•> \t"), 0
    while (match := _POINTED.search(sentence, at)) is not None:
        letters, end = _joined(sentence, match)
        label = match.start(match.lastindex or 0)
        before = sentence[max(at, label - 60) : label]
        no = denied(before) or names_another(before)
        no = no or DENIED_AFTER.match(sentence[end : end + 60]) is not None
        if not no and (text := _OPTION_TEXT.match(sentence, end)) is not None:
            no = DENIED_AFTER.match(sentence[text.end() : text.end() + 60]) is not None
        if no or attributed(before.lower()):
            found += [_Found(letter, True, match.start()) for letter in letters]
        elif introduces_label(_before(sentence, at, label), sentence[end : end + 60]):
            found += [_Found(letter, False, match.start()) for letter in letters]
        at = end
    return found


_OPTION_TEXT = re.compile(
    r"[\s*)\]]*(?:\([^()\n]{1,80}\)"
    r"|[:—–]\s+[^.;,:!?\n]{1,80}?(?=\s+(?:is|are|was|were|can|could|does|do|would|will|must|has|have|fails?|makes?"
    r"|contradicts?)(?:n['’]t|not)?\b|\s+[—–-]\s))"
)
"""The text of an option before what is said of it: `Option E (bank) is wrong`, `Option E: bank is wrong`."""


def _before(sentence: str, at: int, label: int) -> str:
    """Return what is before a label; without the label before it, that is (`not A but B`)."""
    return ("," if at else "") + sentence[at:label][-60:]


def _pointed_at(text: str) -> str | None:
    """Return the choice of the last sentence that points at one and neither it nor a later one denies it.

    Of `(B), because (A) is dry` only what comes before the reason counts.
    """
    later_denied: set[str] = set()
    for sentence in reversed(sentences(text)):
        labels = _labels_in(sentence)
        if not states("", sentence, marked=False):
            later_denied |= {label.letter for label in labels}
            continue
        reason = REASON.search(sentence.lower())
        kept = [label for label in labels if not label.denied and label.letter not in later_denied]
        first = [label for label in kept if reason is None or label.start < reason.start()]
        if kept:
            return ", ".join(dict.fromkeys(label.letter for label in first or kept))
        if retracts(sentence):
            return None
        later_denied |= {label.letter for label in labels}
    return None


def _without_options(text: str) -> str:
    """Return `text` without a list of the options (`(A) x`, `(B) y`, a line each), which chooses none."""
    if len(_LINE.findall(text)) < 2:
        return text
    return "\n".join(line for line in text.split("\n") if _LINE.match(line) is None)


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def compare_choice(reference: str, answer: str, options: VerifierOptions) -> Comparison:
    """Return whether the labels are the same; `A` and `a` are, `A` and `1` are not."""
    if len(reference) == len(answer) == 1:
        return Comparison(reference.upper() == answer.upper(), "choices")
    left, right = _labels(reference, options), _labels(answer, options)
    return Comparison(left == right, "choices")


def _labels(text: str, options: VerifierOptions) -> frozenset[str]:
    found = extract_choice(text, options).answer if len(text) > 1 and "," not in text else text.strip()
    return frozenset(part.strip().upper() for part in (found or text).split(","))
