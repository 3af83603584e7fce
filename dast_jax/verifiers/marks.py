"""Where a response announces its answer: one grammar of marks for all families.

\\boxed{42}    <answer>42</answer>    #### 42    The answer is 42.    **Answer:** 42    答案是42
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dast_jax.verifiers.denial import REFUTED_AFTER, denied, retracts
from dast_jax.verifiers.sentences import SENTENCE_END
from dast_jax.verifiers.stance import states

__all__ = [
    "Mark",
    "all_boxed",
    "closing_brace",
    "is_comment",
    "last_boxed",
    "marks",
    "only_empty_boxes",
    "weak_mark",
]

_SENTENCE = 300
_DENIAL = 60
_BOXES_TRIED = 8
_MARKS_TRIED = 8


class Mark(NamedTuple):
    """What kind of mark it is, and what it holds: the content of a box or tag, else all that follows it.

    `before` is what its sentence says before it, `after` what follows a box or tag.
    """

    found: str
    rest: str
    enclosed: bool
    before: str = ""
    after: str = ""

    def states_answer(self, *, of_no: bool = False) -> bool:
        """Return whether the sentence of the mark states an answer, and no later one takes it back.

        With `of_no`, the answer may be "no", which a later `This is wrong` confirms.
        """
        rest, after = self.split()
        if not (self.enclosed or self.before or after) and rest.isalnum():
            return True
        return states(self.before, rest) and not retracts(after, of_no=of_no)

    def split(self) -> tuple[str, str]:
        """Return the content of a box or tag, else the first sentence after the mark; and what follows."""
        if self.enclosed:
            return self.rest[:_SENTENCE], self.after
        rest = self.rest.lstrip(" \t\r\n:*=")
        if (end := SENTENCE_END.search(rest, 1, _SENTENCE)) is None:
            return rest[:_SENTENCE], ""
        return rest[: end.end()], rest[end.start() :]


_BOXED = re.compile(r"\\f?boxed\s*\{")
_JSON = re.compile(
    r"[\"'](?:final[_ ])?answer[\"']\s*:\s*(?:\"([^\"\n]{1,400})\"|(-?[\d.,]{0,40}\d))\s*[,}]", re.IGNORECASE
)
_IS = r"(?:is|are|was|would be|will be|must be|should be|comes? to|equals)\b(?:\s*[:：])?"
_OTHER_LANGUAGES = (
    r"\b(?:réponse|respuesta|risposta|Antwort|Lösung|resposta)\b(?:\s+(?:finale?|final))?\s*(?:est|es|è"
    r"|ist|lautet|é|:)"
    r"|(?:正确)?(?:答案|答|选项)\s*】?\s*(?:应该)?(?:[:：]|是|为|(?<=】))|(?:(?<![一-龥])|(?<=[故应以此题当案我们上该需须可能则即而是])"
    r"(?<!不[应该可是须需能])(?<!不可以)(?<!不应[该当])(?<![他她]们))选(?:择)?\s*[:：]?\s*(?=[(（]?[A-Za-z])"
)
_ASIDE = r"(?:\s*\((?!\s*[A-Za-z]\s*\))[^()\n]{0,80}\)|,\s[^,.\n]{1,40},)?"
_OF = r"(?:\s+(?:to|for|of|in)\s[^.\n]{0,80}?)?"
_ANSWER = (
    rf"\b(?:NOUNS)\b{_OF}{_ASIDE}(?:\s*\*\*)?\s*(?:{_IS}|[:：])"
    r"|\bans(?:wer)?\s*[:：]|\banswer\s+(?=\\[(\[]|\$)|^[ \t]*A[:：]"
)
_ANSWER_NOUNS = r"answers?"
_CHOICE_NOUNS = r"answers?|choices?|options?|labels?|verdict|conclusion"
_MARKS = {
    nouns: re.compile(_ANSWER.replace("NOUNS", nouns) + "|" + _OTHER_LANGUAGES, re.IGNORECASE | re.MULTILINE)
    for nouns in (_ANSWER_NOUNS, _CHOICE_NOUNS)
}
_OPENINGS = ("ans", "respuesta", "risposta", "antwort", "resposta")
_FOREIGN = ("réponse", "lösung", "正确", "答", "选")
_CHOICE_OPENINGS = (*_OPENINGS, "choice", "option", "label", "verdict", "conclusion")
"""What a mark opens with, besides a line's `A:`; plain searches for them are faster than the patterns'."""
_LINE_OPENING = re.compile(r"^[ \t]*a[:：]", re.MULTILINE)

_WEAK = re.compile(rf"\b(?:the|our|final)\s+(?:result|solution)s?\s*(?:{_IS}|[:：])\s*", re.IGNORECASE)

_COMMENT = re.compile(
    r"[\s:*=]*(?:(?:also|indeed|therefore|thus|now|not|probably)\s+)*(?:in)?"
    r"(?:correct|right|wrong|valid|reasonable|plausible|consistent|verified|confirmed|checked|true that)\b",
    re.IGNORECASE,
)
"""`So this answer is correct.` comments on an answer and states none."""


def marks(text: str, *, choices: bool = False, comments: bool = False) -> Iterator[Mark]:
    """Yield the marks of `text`, the most reliable first: box, tag, `####`, then "answer is" from the last.

    With `choices`, "the correct option is" and its like are marks too; with `comments`, so is what only
    comments on an answer.
    """
    if "{" in text and (boxed := next(_boxed(text), None)) is not None:
        inner, start, end = boxed
        yield Mark("boxed", inner, True, _denial(text, start, end + 1), text[end + 1 :])
    if "</" in text and (tagged := _last_tag(text)) is not None:
        yield Mark("answer tag", tagged[0], True, after=tagged[1])
    if "{" in text and "nswer" in text and (pairs := _JSON.findall(text)):
        yield Mark("answer tag", pairs[-1][0] or pairs[-1][1], True)
    if (at := text.rfind("####")) >= 0:
        yield Mark("after ####", text[at + 4 :], False)
    lowered = text.lower()
    for start, end in reversed(_announced(text, lowered, choices=choices)[-_MARKS_TRIED:]):
        rest = text[end:]
        if comments or not is_comment(rest):
            before = _before(text, start)
            if "would" in lowered[start:end]:  # "had they left, the answer would be 5"
                before = "would " + before
            yield Mark("answer is", rest, False, before)


def _announced(text: str, lowered: str, *, choices: bool) -> list[tuple[int, int]]:
    """Return where "answer is" and its like begin and end; `lowered` is `text` in lower case."""
    pattern = _MARKS[_CHOICE_NOUNS if choices else _ANSWER_NOUNS]
    if len(lowered) != len(text):  # other positions
        return [match.span() for match in pattern.finditer(text)]
    starts = []
    openings = _CHOICE_OPENINGS if choices else _OPENINGS
    for opening in openings if text.isascii() else (*openings, *_FOREIGN):
        at = lowered.find(opening)
        while at >= 0:
            starts.append(at)
            at = lowered.find(opening, at + 1)
    if "a:" in lowered or "a：" in lowered:
        starts += [match.start() for match in _LINE_OPENING.finditer(lowered)]
    found, end = [], 0
    for start in sorted(starts):
        if start >= end and (match := pattern.match(text, start)) is not None:
            end = match.end()
            found.append((start, end))
    return found


_STOPS = (". ", "! ", "? ", '."', ".$")


def _before(text: str, start: int) -> str:
    """Return what the sentence in which a mark starts says before it."""
    before = text[max(0, start - _SENTENCE) : start].rpartition("\n")[2]
    if "." in before or "!" in before or "?" in before:
        before = before[max(map(before.rfind, _STOPS)) + 1 :]
    return before


def _last_tag(text: str) -> tuple[str, str] | None:
    """Return what the last closed `<answer>` tag holds, and what follows it; None without one."""
    lowered = text.lower()
    end = lowered.rfind("</answer>")
    start = lowered.rfind("<answer>", 0, max(end, 0))
    if start < 0 or len(lowered) != len(text):
        return None
    return text[start + len("<answer>") : end].strip(), text[end + len("</answer>") :]


def weak_mark(sentence: str) -> str | None:
    """Return what follows `the result is`, `the solution is`, which counts in the last sentence only."""
    lowered = sentence.lower()
    if "result" not in lowered and "solution" not in lowered:
        return None
    found = list(_WEAK.finditer(sentence))
    return sentence[found[-1].end() :] if found else None


def is_comment(rest: str) -> bool:
    """Return whether what follows a mark comments on an answer instead of stating it."""
    return _COMMENT.match(rest) is not None


def only_empty_boxes(text: str) -> bool:
    """Return whether `text` has an empty box and no other: it announces an answer and gives none."""
    return (
        "boxed" in text and re.search(r"\\f?boxed\s*\{\s*\}", text) is not None and last_boxed(text) is None
    )


def last_boxed(text: str) -> str | None:
    """Return what the last non-empty `\\boxed{…}` with matched braces holds, None without one."""
    return next((inner for inner, *_ in _boxed(text)), None)


def all_boxed(text: str) -> list[str]:
    """Return what the last boxes hold, in order, each content once."""
    return list(dict.fromkeys(inner for inner, *_ in reversed(list(_boxed(text)))))


def _denial(text: str, start: int, end: int) -> str:
    """Return what denies the box at start:end, "not " where the words after it do, "" where nothing does."""
    if REFUTED_AFTER.match(text[end : end + _SENTENCE]):
        return "not "
    before = text[max(0, start - _DENIAL) : start]
    return "not " if denied(before) or _GUESSED.search(before) else ""


_GUESSED = re.compile(
    r"\b(?:perhaps|maybe|possibly|could be|might be|guess(?: is)?|(?:wrong|incorrect) answer (?:is"
    r"|would be))[\s*$:\\(\[]*$",
    re.IGNORECASE,
)


def _boxed(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield what the non-empty `\\boxed{…}` with matched braces hold, and where they are, from the last."""
    if "boxed" not in text:
        return
    starts = [m.span() for m in _BOXED.finditer(text)]
    for opening, start in reversed(starts[-_BOXES_TRIED:]):
        close = closing_brace(text, start)
        if close is not None and (inner := text[start:close].strip()):
            yield inner, opening, close


def closing_brace(text: str, start: int) -> int | None:
    """Return where the group that was opened just before `start` closes; escaped braces do not count."""
    depth, at, end = 1, start, len(text)
    while at < end:
        char = text[at]
        if char == "\\":
            at += 2
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None
