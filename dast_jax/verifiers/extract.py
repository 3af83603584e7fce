"""Finding the answer in a worked solution of a mathematical problem, and in a reference.

The other families' extraction is in `choice`, `words` and `lists`; `families` has the table of all. All of
them read their marks with `marks`, and get what `response.graded_part` leaves of a response.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dast_jax.verifiers.clause import answer_of_clause, only_candidate, sentence_end
from dast_jax.verifiers.denial import NEGATION, refutes, retracts
from dast_jax.verifiers.equivalence import split_parts
from dast_jax.verifiers.guard import looks_like_code
from dast_jax.verifiers.marks import Mark, all_boxed, is_comment, marks, only_empty_boxes, weak_mark
from dast_jax.verifiers.normalize import clean, parse_number
from dast_jax.verifiers.prose import closing_display, is_prose, without_bold
from dast_jax.verifiers.response import join_thousands, one_spelling
from dast_jax.verifiers.stance import introduces, states

__all__ = ["Extraction", "extract_math", "extract_reference", "last_sentence", "one_box_each", "stated_texts"]

_PROSE_TAIL = 4_000
_BARE_TAIL = 20_000
"""Characters of an unmarked response that are read; no bare answer is longer."""
_SHORT = 40
_MARK_SPAN = 150
"""Characters that hold any "answer to … is"."""


class Extraction(NamedTuple):
    """The answer's text (None where there is none) and where it was found."""

    answer: str | None
    found: str


_NOTHING = Extraction(None, "nothing")
_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")
"""GSM8K's annotations, `48/2 = <<48/2=24>>24`."""


def extract_math(text: str) -> Extraction:
    """Return the final answer of a worked solution, or of a bare answer.

    In this order: at a mark (`marks.marks`); the text itself, or its last line, where it is no prose; the
    only quantity of the last sentence. What is marked with an empty box or a blank has no answer.
    """
    for mark in marks(text):
        if len(mark.rest) < _SHORT and not mark.enclosed:
            word = mark.rest.strip()
            if not mark.before and word.isalnum():
                return Extraction(word, mark.found)  # `#### 18`
            if (digits := word.removesuffix(".")).isdigit() and digits.isascii():  # `So the answer is 18.`
                return Extraction(digits, mark.found) if mark.states_answer() else _NOTHING
        rest = mark.rest[:_PROSE_TAIL]
        rest = join_thousands(_CALCULATOR.sub("", rest) if "<<" in rest else rest)
        if not mark.states_answer():
            return _NOTHING
        if mark.enclosed:
            return Extraction(_contradicted(_inside(rest), mark), mark.found)
        if mark.found == "answer is" and _opens_a_solution(rest):
            continue
        if _EXPLAINS.match(rest):
            return _NOTHING
        if answer := answer_of_clause(rest):
            return Extraction(answer, mark.found)
    bare = join_thousands(text[-_BARE_TAIL:]).strip()
    if not bare or only_empty_boxes(bare) or bare[-1] in "?？":
        return _NOTHING
    if len(text) > _BARE_TAIL:
        return _from_prose(bare)
    if looks_like_code(bare):
        return Extraction(bare, "bare answer")
    if not is_prose(bare):
        if "\n" in bare and (shown := closing_display(bare)) is not None:
            return Extraction(shown, "bare answer")
        lines = bare.split("\n") if "\\begin" not in bare else [bare]
        return Extraction(lines[-1].strip(), "bare answer" if len(lines) == 1 else "last line")
    return _from_prose(bare)


def one_box_each(text: str, count: int) -> str | None:
    """Return the contents of the boxes, joined by commas, where there are `count` with one item in each.

    Some solutions of MATH box each of several answers. None where the boxes are more, fewer, or hold lists,
    or where what is said around them denies or corrects something.
    """
    boxes = all_boxed(text)
    if len(boxes) != count or count < 2 or any(len(split_parts(box)) > 1 for box in boxes):
        return None
    first = text.find("boxed")
    begin = max(text.rfind(stop, max(first - 100, 0), first) for stop in ("\n", ". ", "? ", "! "))
    said = text[begin + 1 if begin >= 0 else max(first - 100, 0) :]
    return None if refutes(said) or _DENIES.search(said.lower()) else ", ".join(boxes)


_DENIES = re.compile(rf"{NEGATION.pattern}|\b(?:instead|rather|wait|actually)\b")


def _inside(boxed: str) -> str:
    """Return the answer in a box, where that holds a whole sentence (`\\text{The answer is 460}`)."""
    if "nswer" not in boxed:
        return boxed
    words = re.sub(r"\\(?:text|mbox|mathrm)\s*\{([^{}]*)\}", r"\1", clean(boxed))
    for mark in marks(words):
        if answer := answer_of_clause(mark.rest):
            return answer
    return boxed


def _contradicted(boxed: str, mark: Mark) -> str:
    """Return the answer in a box, with another number that a "final answer is" after the box states."""
    if "nswer" not in mark.after or not _ANNOUNCES.search(mark.after):
        return boxed
    for later in marks(mark.after):
        number, other = parse_number(clean(boxed)), answer_of_clause(later.rest)
        second = None if other is None else parse_number(clean(other))
        if second is not None and (number is None or number.value != second.value):
            return f"{boxed}, but then the answer is {other}"
        break
    return boxed


_ANNOUNCES = re.compile(r"\b(?:final|correct|right|actual|true) answer\W{0,6}(?:is\b|:)", re.IGNORECASE)


def _opens_a_solution(rest: str) -> bool:
    """Return whether what follows `Answer:` is a worked solution in prose, not an answer and remarks."""
    end = sentence_end(rest[:_PROSE_TAIL].lstrip(" \t:*="))
    first, more = rest[: end + 1].strip(), rest[end + 2 : end + _PROSE_TAIL]
    opening = _FIRST_WORDS.match(first)
    return opening is not None and "=" in more and any(c.isdigit() for c in more)


_EXPLAINS = re.compile(
    r"[\s:*=#]*(?:explanation|reason(?:ing)?|rationale|justification|proof|note|check)\b[\s*]*:",
    re.IGNORECASE,
)
"""Nothing is marked: `Answer:`, then `Explanation: …`."""

_FIRST_WORDS = re.compile(
    r"[\s:*]*(?:First|Let|We|To|Since|There|If|He|She|They|In|On|Each|[A-Z][a-z]+ (?:has|had|sold|buys))\b"
)


def _from_prose(text: str) -> Extraction:
    """Return the answer of unmarked prose: its last sentence, where that has exactly one candidate.

    `42, because 6 times 7 is 42` opens with its answer instead.
    """
    if (opening := _OPENING.match(text)) is not None and parse_number(clean(opening[1])) is not None:
        return Extraction(opening[1], "opens the response")
    tail = without_bold(text[-_PROSE_TAIL:]).replace("{,}", ",")
    sentence = last_sentence(_CALCULATOR.sub("", tail) if "<<" in tail else tail)
    if next(marks(sentence, comments=True), None) is not None:
        return _NOTHING  # `The answer is correct to 5 decimals.`
    if (rest := weak_mark(sentence)) is not None:
        if is_comment(rest) or not states("", sentence, marked=False) or refutes(sentence):
            return _NOTHING
        if answer := answer_of_clause(rest):
            return Extraction(answer, "result is")
    answer = only_candidate(sentence)
    if answer is None or not states("", sentence, marked=False) or refutes(sentence):
        return _NOTHING
    return Extraction(answer, "last sentence")


_OPENING = re.compile(r"([-$\d][\d.,/%]{0,20}?),?\s+(?:because|since)\b")


def last_sentence(text: str) -> str:
    """Return the last sentence of `text`, with its stop; lines end sentences, formulas hold them together."""
    text = text.rstrip()
    begin = max(text.rfind("\n\n"), len(text) - _SENTENCE, 0)
    rest = text[begin:].lstrip()
    if "\\" not in rest and "{" not in rest:
        rest = rest[rest.rfind("\n") + 1 :].lstrip()
        stops = [stop.end() for stop in _STOP.finditer(rest)]
        return rest[stops[-1] :] if stops else rest
    while (end := sentence_end(rest)) < len(rest) - 1 and (more := rest[end + 1 :].lstrip(" \t\n*\"')")):
        rest = more
    return rest


_SENTENCE = 1_500
_STOP = re.compile(r"[.!?](?<![Ff]ig[.!?])(?<!\bEq[.!?])(?<!\bNo[.!?])[*\"')]*\s+(?=\S)")


def extract_reference(text: str) -> str:
    """Return the reference answer: itself, or the marked answer of a whole reference solution."""
    text = one_spelling(text)
    if "\\boxed" in text or "####" in text:
        return extract_math(text).answer or text.strip()
    return join_thousands(text).strip()


def stated_texts(text: str, longest: int) -> Iterator[str]:
    """Yield all that a response without a box says after its marks, up to `longest` characters."""
    if "boxed" in text:
        return
    tail = text if "####" in text else text[-(longest + _MARK_SPAN) :]
    for mark in marks(tail, comments=True):
        if len(mark.rest) <= longest and introduces(mark.before) and not retracts(mark.after):
            yield mark.rest.lstrip(" \t\r\n:*=")
        if mark.found == "after ####":
            return
