"""Answers that are a word: yes or no, true or false, labels.

Each family has a function that finds the answer in a response and one that compares two answers. A
response that names two answers ("A or B") has both as its answer, and so equals neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from dast_jax.verifiers.denial import DENIED_AFTER, NEGATION, denied, refutes, retracts
from dast_jax.verifiers.equivalence import Comparison
from dast_jax.verifiers.extract import Extraction
from dast_jax.verifiers.marks import Mark, is_comment, marks, only_empty_boxes
from dast_jax.verifiers.normalize import clean, text_key
from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.pointing import AFFIRMED, ENDS_PREDICATE, introduces_value
from dast_jax.verifiers.prose import without_bold
from dast_jax.verifiers.sentences import first_sentence, sentences, with_words
from dast_jax.verifiers.stance import CONCLUSION, REASON, attributed, states

__all__ = [
    "compare_bool",
    "compare_label",
    "compare_yes_no",
    "extract_bool",
    "extract_label",
    "extract_yes_no",
]

_TAIL = 4_000
"""Characters of a response that are read, from its end: no regular expression gets more."""

_SPAN = 300


def _marked(text: str) -> Iterator[tuple[str | None, Mark]]:
    """Yield the sentences where answers are announced, the most reliable first; None for what states none."""
    for mark in marks(text, choices=True):
        rest = mark.rest[:_SPAN].lstrip(" \t\r\n:*=")
        span = mark.rest if mark.enclosed else first_sentence(rest)[0]
        yield (with_words(span) if mark.states_answer(of_no=True) else None), mark


# --- yes or no, true or false -------------------------------------------------------------------------

_TRUTH = re.compile(
    r"(?<![\w-])(?P<no>(?:(?:\w+n['’]t|not|nor|neither|never|hardly|cannot|no longer|far from"
    r"|anything but)\s+)(?:be\s+)?)?(?P<word>yes|no|true|false)(?![\w-])"
    r"(?<!\bno(?=\.?\s*\d))(?<!\bno(?=\s+(?!(?:because|since|as|and|or|but|nor|it|he|she|they|we|i|this|that"
    r"|the|there|for|so|if|when|while|yes|no|true|false)\b)[a-z]))",
    re.IGNORECASE,
)
"""`no` before another word is a determiner: `no more than 5`, `no evidence`, `no. 5`."""

_OPENER = r"[\s*\"'_(\[$]*(?:(?:so|thus|hence|therefore|and|but|well|wait|actually|oh|hmm)\b,?\s*)*"
_CLOSER = (
    r"(?=[\s*\"'_)\]$]*(?:[,;:!—–]|\.(?!\s?\d)|-\s|$|because\b|since\b|(?:it|he|she|they|we|this|that"
    r"|the)\b))"
    r"(?![\s,\"'”]*(?:but (?:not|only|rarely)|mostly|usually|generally|in (?:theory|part|principle"
    r"|general)|partly|technically"
    r"|to some extent|almost)\b)"
    r"(?![\s,\"'”]*(?:\w+\s+)?(?:said|says|replied|answered|thinks|thought)\b)"
)
_CLOSED = re.compile(_CLOSER + r"|[\s*\"'_)]*(?:/|\b(?:and|or|but|nor|in|for|at|when|not)\b)", re.IGNORECASE)
_INTERJECTION = re.compile(rf"{_OPENER}(yes|no|true|false){_CLOSER}", re.IGNORECASE)
_CLOSING = re.compile(
    r"(?:\bso|\bthus|\bhence|\btherefore|\b[iI] (?:would )?say|\bwait|\bactually|\brather|\bsorry"
    r"|\b(?:short|sum|summary|conclusion|conclude|verdict|output|result|final|response|decision)\s*(?=:)"
    r"|\b(?:is it|are they|does it)(?: so| not)?\s*(?=:))"
    r"[,:]?\s+[*\"'_]*(yes|no|true|false)[*\"'_]*[\s.!]*$",
    re.IGNORECASE,
)
_CLAIM = re.compile(
    r"\b(?:is|are|be|was|seems?|must be)\s+(?:also\s+|always\s+|indeed\s+|in fact\s+|therefore\s+)?"
    r"(not\s+)?(?:always\s+)?(true|false)(?![\w-])|\b(?:isn|aren|wasn)['’]t\s+(?:always\s+)?(true|false)\b",
    re.IGNORECASE,
)
_OPEN_CLAIM = re.compile(
    r"\b(?:few|little|only|if|whether|unless|could|might|may|would|one|some|which|converse|opposite"
    r"|negation|reverse|inverse|first|second"
    r"|parts?|used to)\b"
)
"""Before "is true" such a word makes a claim that no rule decides: `if it is true`, `the converse is`."""


def extract_yes_no(text: str, options: VerifierOptions) -> Extraction:
    """Return `yes` or `no`; "true" and "false" mean the same. A response with both says "yes or no"."""
    return _extract_truth(text, ("no", "yes"))


def extract_bool(text: str, options: VerifierOptions) -> Extraction:
    """Return `True` or `False`; "yes" and "no" mean the same, "not true" is False, both "False or True"."""
    return _extract_truth(text, ("False", "True"))


def _extract_truth(text: str, names: tuple[str, str]) -> Extraction:
    """In this order: at the last mark, whose sentence decides; a sentence that opens or closes with the word
    ("Yes, …", "…, so yes."), the first of all if it opens the response, else the last; the last "is (not)
    true" of prose; a last line with such a word. Where the last sentence says that it is unclear, nothing.
    """
    text = without_bold(text)
    start, tail = text[:_SPAN], text[-_TAIL:]
    for span, mark in _marked(tail):
        if span is None:
            return Extraction(None, "nothing")
        if is_comment(span):
            continue
        answer = _in_span(clean(_NOT_SIGN.sub(" not ", span)), names)
        taken_back = answer == names[True] and not mark.states_answer()
        return Extraction(None if taken_back else answer, mark.found)
    parts = sentences(tail)
    if len(parts) == 1 and (plainly := _PLAINLY.fullmatch(parts[0])) is not None:
        return Extraction(names[_truth(plainly[2]) ^ bool(plainly[1])], "is true or false")
    opening = _INTERJECTION.match(start) if states("", first_sentence(start)[0], marked=False) else None
    confirms = opening is not None and not _truth(opening[1]) and _REFUTES.match(parts[-1]) is not None
    if only_empty_boxes(tail) or (parts and not confirms and not states("", parts[-1], marked=False)):
        return Extraction(None, "nothing")
    if any(_is_split(part) for part in parts):
        return Extraction(_name([True, False], names), "both")
    said = [m for part in parts if (m := _says(part)) is not None]
    if opening and said and _truth(said[-1][1]) != _truth(opening[1]):
        return Extraction(_name([True, False], names), "opens a sentence")  # `Yes. Wait, no.`
    if opening and retracts(first_sentence(tail.lstrip())[1], of_no=not _truth(opening[1])):
        return Extraction(None, "nothing")
    short = _ASKED.sub("", tail.strip())
    if len(short) <= 60 and _says_both(short):
        return Extraction(_name([True, False], names), "both")  # `No, yes, no idea`
    if word := opening or (said[-1] if said else None):
        return Extraction(names[_truth(word[1])], "opens a sentence")
    return _claimed(tail, names) or _bare(tail, names) or Extraction(None, "nothing")


def _claimed(text: str, names: tuple[str, str]) -> Extraction | None:
    """Return what the last "is (not) true" says; nothing where it is about something else."""
    claims = list(_CLAIM.finditer(text))
    if not claims:
        return None
    last = claims[-1]
    before = CONCLUSION.split(sentences(text[: last.end()])[-1][: -len(last[0])].lower())[-1]
    if (
        ENDS_PREDICATE.match(text, last.end()) is None
        or NEGATION.search(before)
        or _OPEN_CLAIM.search(before)
        or attributed(before)
    ):
        return Extraction(None, "nothing")
    value = not _truth(last[3]) if last[3] else _truth(last[2]) ^ bool(last[1])
    return Extraction(names[value], "is true or false")


def _bare(text: str, names: tuple[str, str]) -> Extraction | None:
    """Return the answer of a last line that holds such a word and next to no others."""
    bare = clean(text.strip().rpartition("\n")[2])
    if len(bare) > 40 or _NOT_SIGN.match(bare) or not _BARE.fullmatch(_TRUTH.sub(" ", bare)) or refutes(bare):
        return None
    answer = _name(_truths(bare), names)
    return None if answer is None else Extraction(answer, "bare answer")


_OTHERWISE = re.compile(rf"[,;:—–]\s*(?:(?:and|but|or)\s+)?(yes|no|true|false){_CLOSER}", re.IGNORECASE)


def _is_split(sentence: str) -> bool:
    """Return whether a sentence opens or closes with one word and holds the other: `Yes: 40 %, no: 60 %`."""
    reason = REASON.search(sentence.lower(), 1)
    sentence = sentence if reason is None else sentence[: reason.start()]
    said, other = _INTERJECTION.match(sentence), _OTHERWISE.search(sentence)
    return said is not None and other is not None and _truth(said[1]) != _truth(other[1])


_REFUTES = re.compile(
    r"\W*(?:it|this|that|the (?:statement|claim|sentence))\s+is\s+(?:not\s+true|false|wrong|incorrect"
    r"|untrue)\b",
    re.I,
)
_PLAINLY = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore),?\s+)?(?:it|this|that|the (?:statement|claim|sentence))\s+is\s+"
    r"(not\s+)?(true|false)\W*(?<!\?)",
    re.IGNORECASE,
)
"""`It is false.` says so of what was asked; in other families it denies an answer."""

_ASKED = re.compile(r"[^.!?]*\?")
_GAP = re.compile(r"[\s*,./;\"']*(?:\b(?:and|or)\b)?[\s*\"']*", re.IGNORECASE)
_NOT_SIGN = re.compile(r"\\(?:neg|lnot)(?![a-zA-Z])|¬|!(?=\s*[A-Za-z])")


def _says_both(text: str) -> bool:
    """Return whether `yes` and `no` stand next to each other: `Yes or no`, `No, yes`."""
    found = list(_TRUTH.finditer(text))
    return any(
        _truth(a["word"]) != _truth(b["word"]) and _GAP.fullmatch(text, a.end(), b.start())
        for a, b in pairwise(found)
    )


_BARE = re.compile(
    r"(?:\W|(?:so|thus|hence|therefore|then|it|its|this|that|which|is|are|was|the|statement|claim"
    r"|sentence|answer"
    r"|definitely|clearly|certainly|surely|indeed|and|or|final|conclusion|result|i|we|think"
    r"|believe)(?!\w)|['’]s\b)*",
    re.IGNORECASE,
)
"""A line with such a word and next to no others: `So it is true`; not `They said no`, `It's not a yes`."""


def _says(sentence: str) -> re.Match[str] | None:
    """Return the `yes` that opens a sentence, or closes it after `so`, `therefore` or a colon."""
    if not states("", sentence, marked=False):
        return None
    return _INTERJECTION.match(sentence) or _CLOSING.search(sentence)


def _in_span(span: str, names: tuple[str, str]) -> str | None:
    """Return what follows a mark says: the word it opens with, unless another follows as an alternative."""
    if span in names:
        return span
    opening = _INTERJECTION.match(span)
    if opening is not None and not _says_both(span):
        return names[_truth(opening[1])]
    if any(_CLOSED.match(span, match.end()) is None for match in _TRUTH.finditer(span)):
        return None  # `true to life`
    return _name(_truths(span), names)


def _name(values: Iterable[bool], names: tuple[str, str]) -> str | None:
    found = list(dict.fromkeys(values))
    return " or ".join(names[v] for v in sorted(found)) if found else None


def _truths(span: str) -> list[bool]:
    return [_truth(match["word"]) ^ bool(match["no"]) for match in _TRUTH.finditer(span)]


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
    if answer in _KNOWN and reference in _KNOWN:
        return Comparison(_KNOWN[reference] == _KNOWN[answer], reason)
    left, right = extract(reference, options).answer, extract(answer, options).answer
    return Comparison(left is not None and left == right, reason)


_KNOWN = {"yes": True, "no": False, "True": True, "False": False}


# --- label --------------------------------------------------------------------------------------------

_JOINED = re.compile(r"(?:\b(?:or|and|but|nor)|/)\W*$", re.IGNORECASE)
_OBJECT = re.compile(
    r"[\s*]*(?:$|[.,;:!)]|(?:it|this|that|each other|(?:the|its|this|that)\s+(?:hypothesis|claim"
    r"|statement|conclusion|sentence"
    r"|second|other|text))\b|(?:by|in|with|or|nor|and)\b)",
    re.IGNORECASE,
)
"""What the premise entails or contradicts: the hypothesis, not `a weaker claim`."""
_LABEL_END = re.compile(rf"{AFFIRMED.pattern}|\s+(?:relation|label|with|in|to|here|about)", re.IGNORECASE)
_SUBJECT = re.compile(
    r"(?:^\W*|\b(?:it|this|that|which|they|hypothesis|claim|statement|conclusion|sentence|premise|text"
    r"|passage|context"
    r"|and|or|nor|not|is|are|was|be|been|also|always|(?!only)\w+ly))\s*$",
    re.IGNORECASE,
)
_VERBS = ("entails", "entailed", "entail", "contradicts", "contradicted", "contradict", "contradictory")
_INFLECTED = {
    "entailment": r"entail(?:ment|s|ed)?",
    "contradiction": r"contradict(?:ion|s|ed|ory)?",
    "neutral": r"neutral",
}


def extract_label(text: str, options: VerifierOptions) -> Extraction:
    """Return the label: one of `options.labels`, or at a marker, or as the whole text, any other words.

    In this order: at a marker; the whole text, where it is a few words; the labels of the last sentence
    that names any. Denied labels ("not neutral") do not count; several are joined by "or".
    """
    text = text[-_TAIL:]
    first: Extraction | None = None
    for said, mark in _marked(text):
        if said is None or not mark.states_answer():
            return Extraction(None, "nothing")
        span = clean(said)
        if (answer := _labels_in(span, options.labels)) is not None:
            return Extraction(answer, mark.found)
        if first is None and 0 < len(span) <= 60:
            first = Extraction(span, mark.found)
    if first is not None:
        return first
    parts = sentences(text)
    bare = clean(text)
    if parts and not states("", parts[-1], marked=False):
        return Extraction(None, "nothing")
    if bare and "\n" not in text.strip() and len(bare.split()) <= 3:
        return Extraction(_labels_in(bare, options.labels) or bare, "bare answer")
    for sentence in reversed(parts):
        if (answer := _labels_in(sentence, options.labels)) is not None:
            stated = states("", sentence, marked=False)
            return Extraction(answer, "last label") if stated else Extraction(None, "nothing")
    return Extraction(None, "nothing")


def _labels_in(text: str, labels: Sequence[str]) -> str | None:
    """Return the labels that `text` names and does not deny, joined by "or"; None without one."""
    found = []
    for label in labels:
        pattern = _INFLECTED.get(label.casefold(), re.escape(label))
        for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text, re.IGNORECASE):
            before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() :]
            is_verb = match[0].casefold() in _VERBS  # `the premise entails it`
            if is_verb:
                pointed = _relates(before, match[0].casefold(), after)
            else:
                pointed = _LABEL_END.match(after) is not None and (
                    introduces_value(before) or _JOINED.search(before) is not None
                )
            if pointed and not denied(before) and not DENIED_AFTER.match(after):
                found.append(label)
                break
    return " or ".join(found) if found else None


def _relates(before: str, verb: str, after: str) -> bool:
    """Return whether a verb says how premise and hypothesis relate: `the premise entails it`."""
    if verb.startswith("contra"):  # either contradicts the other
        after = after.replace("premise", "hypothesis")
    return _SUBJECT.search(before) is not None and _OBJECT.match(after) is not None


def compare_label(reference: str, answer: str, options: VerifierOptions) -> Comparison:
    """Return whether the labels are the same, whatever their case and inflection."""
    sides = [_labels_in(clean(text), options.labels) or clean(text) for text in (reference, answer)]
    return Comparison(text_key(sides[0]).casefold() == text_key(sides[1]).casefold(), "labels")
