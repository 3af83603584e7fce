"""Answers that are a word or a letter: choices, yes or no, true or false, labels.

Each family has a function that finds the answer in a response and one that compares two answers. A
response that names two answers ("A or B") has both as its answer, and so equals neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from dast_jax.verifiers.equivalence import Comparison
from dast_jax.verifiers.extract import Extraction, last_boxed
from dast_jax.verifiers.normalize import clean, text_key
from dast_jax.verifiers.options import VerifierOptions

__all__ = [
    "compare_bool",
    "compare_choice",
    "compare_label",
    "compare_yes_no",
    "extract_bool",
    "extract_choice",
    "extract_label",
    "extract_yes_no",
]

_TAIL = 4_000
"""Characters of a response that are read, from its end: no regular expression gets more."""

_SPAN = 300
_MARKERS_TRIED = 8

Finder = Callable[[str], str | None]


# --- where an answer may stand ------------------------------------------------------------------------

_MARKER = re.compile(
    r"\b(?:answers?|choices?|options?|labels?|verdict|conclusion)\b(?:\s+(?:to|for|of|in)\s[^.\n]{0,80}?)?"
    r"(?:\s*\*\*)?\s*(?:(?:is|are|would be|will be|must be|should be)\b(?:\s*:)?|:)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")


def _marked(text: str) -> Iterator[tuple[str, str]]:
    """Yield the texts where answers are announced, the most reliable first."""
    if (boxed := last_boxed(text)) is not None:
        yield boxed, "boxed"
    if (at := text.rfind("####")) >= 0:
        yield text[at + 4 :].strip().partition("\n")[0], "after ####"
    ends = [match.end() for match in _MARKER.finditer(text)]
    for end in reversed(ends[-_MARKERS_TRIED:]):
        yield _sentence(text[end : end + _SPAN].lstrip(" \t\r\n:*=")), "answer is"


def _sentence(text: str) -> str:
    """`text` to the end of its first sentence; a stop after a lone first letter (`B. palms`) is none."""
    for end in _SENTENCE_END.finditer(text):
        if end.start() > 1 or text[end.start()] == "\n":
            return text[: end.start()]
    return text


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def _first_found(text: str, find: Finder) -> Extraction | None:
    for span, found in _marked(text):
        if (answer := find(clean(span))) is not None:
            return Extraction(answer, found)
    return None


# --- choice -------------------------------------------------------------------------------------------

_NAMED = r"(?i:options?|choices?|letters?|answers?|statements?)"
_ENCLOSED = r"[(\[{]\s*([A-Ja-hj1-9])\s*[)\]}]"
_JOIN = r"\s*(?:,|/|&|\band\b|\bor\b|,\s*and\b|,\s*or\b)\s*"
_AFTER = r"(?=\s*$|\s*[).:,;/&\]]|\s+(?:and|or|because|since|as|which|is)\b)"
_BARE = rf"([A-HJ](?![\w'’^=+*])|[a-hj]{_AFTER}|[1-9]{_AFTER})"
_LABEL = rf"(?:{_ENCLOSED}|{_BARE}\)?)"
_HEAD = re.compile(rf"[\s*\"'_]*(?:the\s+)?(?:{_NAMED}\s+)?{_LABEL}")
_NEXT = re.compile(rf"{_JOIN}(?:{_NAMED}\s+)?{_LABEL}")
_POINTED = re.compile(rf"(\bnot\s+|n['’]t\s+)?(?:\b{_NAMED}\s+{_LABEL}|{_ENCLOSED})")
_ALONE = re.compile(rf"[\s*\"'_]*(?:{_ENCLOSED}|([A-Ja-hj1-9]))\s*(?:[).:](?:\s.*)?)?[\s*\"'_.]*")


def extract_choice(text: str, options: VerifierOptions) -> Extraction:
    """Return the label of a choice, `A`–`J` or `1`–`9`, in capitals; several joined ("A, B") are several.

    In this order: in the last `\\boxed{}`, after the last `####`, after "answer is" and its like; the
    whole text where it is a choice (`B`, `(B) palms`); the last `(B)` or "option B" of prose; a last line
    that is a label. A bare choice by its text alone has no label.
    """
    text = text[-_TAIL:]
    if (marked := _first_found(text, _choice_in)) is not None:
        return marked
    before, _, last = text.strip().rpartition("\n")
    bare = clean(last)
    if not before and (match := _ALONE.fullmatch(bare)):
        return Extraction(_letter(match), "bare answer")
    if not before and (match := _HEAD.match(bare)) and not bare[match.end() :].strip(" .)*"):
        return Extraction(_letter(match), "bare answer")
    if (answer := _pointed_at(text)) is not None:
        return Extraction(answer, "last choice")
    if len(bare) <= 12 and (match := _ALONE.fullmatch(bare)):
        return Extraction(_letter(match), "last line")
    return Extraction(None, "nothing")


def _choice_in(span: str) -> str | None:
    """Return the choice that `span`, what follows a marker, starts with or points at."""
    head = _HEAD.match(span)
    if head is None:
        return _pointed_at(span)
    return _joined(span, head)


def _joined(text: str, first: re.Match[str]) -> str:
    """Return the label of a match, and those joined to it by `and`, `or` or a comma."""
    letters, at = [_letter(first)], first.end()
    while (match := _NEXT.match(text, at)) is not None:
        letters.append(_letter(match))
        at = match.end()
    return ", ".join(dict.fromkeys(letters))


def _pointed_at(text: str) -> str | None:
    """Return the last choice that prose points at (`(B)`, `option B`) without denying it."""
    matches = [m for m in _POINTED.finditer(text) if not m[1]]
    if not matches:
        return None
    letters = [_letter(matches[-1], skip=1)]
    for before, after in zip(reversed(matches[:-1]), reversed(matches[1:]), strict=True):
        if re.fullmatch(_JOIN, text[before.end() : after.start()]) is None:
            break
        letters.append(_letter(before, skip=1))
    return ", ".join(dict.fromkeys(reversed(letters)))


def _letter(match: re.Match[str], skip: int = 0) -> str:
    return next(group for group in match.groups()[skip:] if group).upper()


def compare_choice(reference: str, answer: str, options: VerifierOptions) -> Comparison:
    """Return whether the labels are the same; `A` and `a` are, `A` and `1` are not."""
    left, right = _labels(reference, options), _labels(answer, options)
    return Comparison(left == right, "choices")


def _labels(text: str, options: VerifierOptions) -> frozenset[str]:
    found = extract_choice(text, options).answer if len(text) > 1 and "," not in text else text.strip()
    return frozenset(part.strip().upper() for part in (found or text).split(","))


# --- yes or no, true or false -------------------------------------------------------------------------

_TRUTH = re.compile(r"(?<![\w-])(not\s+|n['’]t\s+)?(yes|no|true|false)(?![\w-])", re.IGNORECASE)
_INTERJECTION = re.compile(
    r"[\s*\"'_($]*(?:(?:so|thus|hence|therefore|and|but|well)\b,?\s*)*(yes|no|true|false)"
    r"(?=[\s*\"'_)$]*(?:[,.;:!—–]|-\s|$|because\b|since\b))",
    re.IGNORECASE,
)
_CLAIM = re.compile(
    r"\b(?:is|are|be|was|seems?|must be)\s+(?:also\s+|always\s+|indeed\s+|in fact\s+|therefore\s+)?"
    r"(not\s+)?(?:always\s+)?(true|false)(?![\w-])|\b(?:isn|aren|wasn)['’]t\s+(?:always\s+)?(true|false)\b",
    re.IGNORECASE,
)


def extract_yes_no(text: str, options: VerifierOptions) -> Extraction:
    """Return `yes` or `no`; "true" and "false" mean the same. A response with both says "yes or no"."""
    return _extract_truth(text, ("no", "yes"))


def extract_bool(text: str, options: VerifierOptions) -> Extraction:
    """Return `True` or `False`; "yes" and "no" mean the same, "not true" is False, both "False or True"."""
    return _extract_truth(text, ("False", "True"))


def _extract_truth(text: str, names: tuple[str, str]) -> Extraction:
    """In this order: at a marker; a sentence that opens with the word ("Yes, …"), the first of all if it
    opens the response, else the last; the last "is (not) true" of prose; a last line with such a word.
    """

    def name(values: Iterable[bool]) -> str | None:
        found = list(dict.fromkeys(values))
        return " or ".join(names[v] for v in sorted(found)) if found else None

    def find(span: str) -> str | None:
        opening = _INTERJECTION.match(span)
        return names[_truth(opening[1])] if opening else name(_truths(span))

    start, tail = text[:_SPAN], text[-_TAIL:]
    if (marked := _first_found(tail, find)) is not None:
        return marked
    openings = [m for part in (start, *_sentences(tail)) if (m := _INTERJECTION.match(part)) is not None]
    if openings:
        opens = openings[0].string is start
        return Extraction(names[_truth(openings[0 if opens else -1][1])], "opens a sentence")
    claims = list(_CLAIM.finditer(tail))
    if claims:
        last = claims[-1]
        value = not _truth(last[3]) if last[3] else _truth(last[2]) ^ bool(last[1])
        return Extraction(names[value], "is true or false")
    bare = clean(tail.strip().rpartition("\n")[2])
    if len(bare) <= 20 and (answer := name(_truths(bare))):
        return Extraction(answer, "bare answer")
    return Extraction(None, "nothing")


def _truths(span: str) -> list[bool]:
    return [_truth(match[2]) ^ bool(match[1]) for match in _TRUTH.finditer(span)]


def _truth(word: str) -> bool:
    return word.casefold() in ("yes", "true")


def compare_yes_no(reference: str, answer: str, options: VerifierOptions) -> Comparison:
    """Return whether both say yes, or both no."""
    return _compare_found(reference, answer, options, extract_yes_no, "yes or no")


def compare_bool(reference: str, answer: str, options: VerifierOptions) -> Comparison:
    """Return whether both say true, or both false."""
    return _compare_found(reference, answer, options, extract_bool, "true or false")


def _compare_found(
    reference: str,
    answer: str,
    options: VerifierOptions,
    extract: Callable[[str, VerifierOptions], Extraction],
    reason: str,
) -> Comparison:
    left, right = extract(reference, options).answer, extract(answer, options).answer
    return Comparison(left is not None and left == right, reason)


# --- label --------------------------------------------------------------------------------------------

_INFLECTED = {
    "entailment": r"entail(?:ment|s|ed)?",
    "contradiction": r"contradict(?:ion|s|ed|ory)?",
    "neutral": r"neutral",
}
_DENIED = re.compile(
    r"(?:\bnot|n['’]t|\bneither|\bnor|\brather than|\binstead of|\bno)\s+(?:an?\s+|the\s+)?$"
)


def extract_label(text: str, options: VerifierOptions) -> Extraction:
    """Return the label: one of `options.labels`, or at a marker, or as the whole text, any other words.

    In this order: at a marker; the whole text, where it is a few words; the labels of the last sentence
    that names any. Denied labels ("not neutral") do not count; several are joined by "or".
    """
    text = text[-_TAIL:]
    first: Extraction | None = None
    for span, found in _marked(text):
        span = clean(span)
        if (answer := _labels_in(span, options.labels)) is not None:
            return Extraction(answer, found)
        if first is None and 0 < len(span) <= 60:
            first = Extraction(span, found)
    if first is not None:
        return first
    bare = clean(text)
    if bare and "\n" not in text.strip() and len(bare.split()) <= 3:
        return Extraction(_labels_in(bare, options.labels) or bare, "bare answer")
    for sentence in reversed(_sentences(text)):
        if (answer := _labels_in(sentence, options.labels)) is not None:
            return Extraction(answer, "last label")
    return Extraction(None, "nothing")


def _labels_in(text: str, labels: Sequence[str]) -> str | None:
    """Return the labels that `text` names and does not deny, joined by "or"; None without one."""
    found = []
    for label in labels:
        pattern = _INFLECTED.get(label.casefold(), re.escape(label))
        for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text, re.IGNORECASE):
            if not _DENIED.search(text[: match.start()].casefold()[-40:]):
                found.append(label)
                break
    return " or ".join(found) if found else None


def compare_label(reference: str, answer: str, options: VerifierOptions) -> Comparison:
    """Return whether the labels are the same, whatever their case and inflection."""
    sides = [_labels_in(clean(text), options.labels) or clean(text) for text in (reference, answer)]
    return Comparison(text_key(sides[0]).casefold() == text_key(sides[1]).casefold(), "labels")
