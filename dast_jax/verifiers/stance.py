"""Whether a sentence states its answer or only entertains it: one vocabulary for all families.

A sentence that supposes, asks, doubts or quotes an answer states none: "if x were 2, the answer would be 5",
"it could be (B)", "some would say yes", "is it [1, 2]?". A reason after the answer does not count
("5, because if each had 2 ...").
"""

from __future__ import annotations

import re

__all__ = ["DENIED", "DENIED_AFTER", "FILLERS", "NEGATIVES", "introduces", "refutes", "states"]

_open = """
    if unless whether suppose supposing assume assuming imagine provided maybe perhaps possibly might may
    could doubt doubtful wonder unsure guess depends depending unknown unclear undetermined
    uncertain undecided
    supposedly allegedly hypothetically otherwise mistake misconception guessing unlikely
    sometimes occasionally partly partially rarely seldom incorrectly wrongly mistakenly erroneously
"""
OPEN_WORDS = frozenset(_open.split())
"""Any of these leaves the sentence open."""

_WORD = re.compile(r"[a-z]+")
_WITH_OTHERS = re.compile(
    r"(?:\b(?:not|never|hardly)|n['’]t)\s+(?:be\s+|quite\s+|at all\s+)*"
    r"(?:sure|certain|clear|correct|right|necessarily|possible to|enough information|it\b)"
    r"|(?:\b(?:not|cannot|impossible to|hard to|wrong to)|n['’]t)\s+(?:be\s+)?(?:know|think|believe|say"
    r"|tell|determined?|decide)"
    r"|\blet(?:['’]s| us)\s+(?:say|try|check|consider|look|test|start)"
    r"|\b(?:some|many|most|few|people|students|others|one|you)(?:\s+(?:people|students|would|will|can"
    r"|often))*"
    r"\s+(?:say|think|believe|choose|pick|argue|claim|answer|call)s?\b"
    r"|\b(?:said|thought|believed|claimed|supposed|assumed) to be\b"
    r"|\b(?:would|should) have been\b|\banswers?\s+(?:can|could|should)\b|\b(?:in|for) (?:some|certain"
    r"|most) cases\b|\bat a guess\b"
    r"|\b(?:and|or) something else\b|\baccording to (?:some|many)\b|\bno way (?:that|the|it)\b"
    r"|\b(?:it is|it['’]s|is) (?:false|wrong|untrue) (?:that|to)\b|\bor\s+(?:something|else|another"
    r"|maybe|not)\b"
    r"|\b(?:which|that|this|it|but) is (?:wrong|incorrect|false|untrue)\b"
    r"|\bbut (?:it|this|that) (?:is not|isn['’]t)[.!]?\s*$|\bwhen\b.{0,60}\bwhen\b|\bright\s*\?"
)
"""Several words that leave it open; searched for where one of `_HINTS` is in the sentence."""

_HINTS = (
    "not", "n't", "n’t", "let", "cannot", "some", "many", "most", "people", "students", "others",
    "one ", "you",
    " to be", "been", "cases", "guess", "way", "wrong", "false", " or ", "impossible", "hard", "is incorrect",
    "when", "few", "answer can", "answer should", "untrue",
)  # fmt: skip
_WOULD = re.compile(r"\bwould\b.*\b(?:were|had|without|only)\b|\b(?:were|had|without)\b.*\bwould\b")
_REASON = re.compile(
    r"[\s,;:(]+(?:because|since|as(?! (?:if|though|long|far)\b)|whereas|while|although|though"
    r"|even(?! if\b))\b"
)

NEGATIVES = (
    r"not|never|hardly|neither|nor|none|nothing|nobody|cannot|fails? to|failed to|without|except|unlike"
    r"|rather than|instead of|other than|no longer|far from|(?:any|every)thing but|all but|avoid(?:ing)?"
    r"|(?:rul|eliminat|exclud|discard|reject)(?:es?|ed|ing|s)?(?: out)?"
)
_DENIAL = re.compile(rf"(?:\b(?:{NEGATIVES}|doubt(?:ful)?)|n['’]t)\b")
_fillers = """
    equal equals to exactly simply just merely be been being the number value list really actually only about
    by given as quite necessarily always likely both either of in out at for any answer possible even yet
    precisely equivalent correct right true final actual supposed meant think believe say claim expect choose
    pick select option options choice choices with go that it this they is are was were
"""
FILLERS = "(?-i:an?)|" + "|".join(_fillers.split())
"""Words between a denial and what it denies: `not really equal to 5`, `never choose option (B)`."""
DENIED = re.compile(
    rf"(?:\b(?:{NEGATIVES}|no)|n['’]t)(?:[\s*_\"'“($:]+(?:{FILLERS})\b)*+[\s*_\"'“($:]*$", re.IGNORECASE
)
"""What ends so denies the label, list or word that follows it."""
_ADVERBS = r"(?:all\s+|also\s+|both\s+|clearly\s+|certainly\s+)*"
DENIED_AFTER = re.compile(
    rf"[\s*)\"'_$\]]*(?:(?:is|are|was|were|seems?|looks?|would be|must be|can|could|should"
    rf"|must)\s*{_ADVERBS}(?:be\s+)?"
    r"(?:not|n['’]t|(?:(?:an?|the|only|just|half|partly|close to)\s+)*(?:wrong|incorrect|untrue|false|bad"
    r"|trap|decoy|opposite|partly|half)|impossible|(?:ruled|left) out|eliminated|excluded|close, but"
    r"|discarded|rejected|out"
    r"|tempting|plausible|possible|unlikely|less likely|irrelevant|a distractor|too\s+\w+)\b"
    r"|(?:isn|aren|can|wasn|doesn|don|won)['’]t\b|does not\b|do not\b|fails?\b|contradicts?\b|makes? no\b)",
    re.IGNORECASE,
)
"""What begins so denies the label, list or word before it: `(B) is wrong`, `5 does not work`."""
_REFUTED = re.compile(
    r"\b(?:is|are|was|were|be)\s+(?:\w+ly\s+)?(?:wrong|incorrect|untrue|impossible|excluded|(?:ruled"
    r"|left) out|eliminated"
    r"|rejected|discarded|too\s+(?:large|small|big|many|much|few|high|low))\b"
    r"|\b(?:does not|doesn['’]t|do not|don['’]t)\s+(?:work|fit|follow|hold|satisfy|count)\b|\bfails\b"
    r"|\b(?:is|are|was|were) not[.!]?$|\b(?:is|are|was|were)n['’]t[.!]?$"
)
_IMPERATIVE = re.compile(
    r"\W*(?:(?:now|so|then|next|first)\b\W*)?(?:(?:i|we|he|she|they) want(?:s|ed)?|let|try|consider"
    r"|check|see|look|start|round|test|imagine|avoid)\b"
)
_CALCULATES = re.compile(r"\d[a-z\s%)]*=\s*\$?\s*-?[\d.]")
_TURN = re.compile(r"[,;:—–(]|\b(?:but|so|then|hence|thus|therefore)\b")
_NOT_THE = re.compile(
    r"\b(?:wrong|incorrect|false|tempting|possible|plausible|first|previous|initial|old|original|alternative"
    r"|worst|common|his|her|your|their|student['’]?s?|least\s+(?:likely|plausible)|rejected"
    r"|(?<!question)(?<!problem)(?<!exercise)['’]s|(?:opposite|contrary|reverse|negation|inverse|alternative"
    r"|half|double|twice|square)(?: (?:of|to)(?: the)?)?)\s+$"
)


def refutes(sentence: str) -> bool:
    """Return whether a sentence says that something is wrong, impossible or too large."""
    return _REFUTED.search(sentence.lower()) is not None


_CHINESE = re.compile(
    "如果|假如|假设|假定|若|可能|也许|或许|大概|不确定|不是|不选|不…|并非|不对|错误|吗|大于|小于|超过|不足|至少|至多"
)
"""The same in Chinese: supposed, doubted, denied, asked, bounded."""

_MONTH = re.compile(r"\bMay\b(?! be\b)")


def states(before: str, sentence: str, *, marked: bool = True) -> bool:
    """Return whether a sentence states the answer that `sentence` holds, `before` being what precedes it.

    `before` is what the sentence says before a mark; all of an unmarked sentence is `sentence`.
    """
    sentence = sentence.rstrip(" \t\r\n*_\"')]}$")
    if sentence.endswith(("?", "？")):
        return False
    if not sentence.isascii() and _CHINESE.search(sentence):
        return False
    after = _lowered(sentence)
    if not marked and _IMPERATIVE.match(after) and not _CALCULATES.search(after):
        return False
    if not _asserts(after, marked=marked):
        reason = _REASON.search(after, 1)
        if reason is None or not _asserts(after[: reason.start()], marked=marked):
            return False
    return introduces(before)


def introduces(before: str) -> bool:
    """Return whether what a sentence says before a mark lets the mark state an answer."""
    if not before or before.isspace():
        return True
    if not before.isascii() and _CHINESE.search(f"{before}…"):
        return False
    before = _lowered(before)
    if not _asserts(before) or _NOT_THE.search(before):
        return False
    denials = list(_DENIAL.finditer(before))
    return not denials or _TURN.search(before, denials[-1].end()) is not None or _sure(before)


def _lowered(text: str) -> str:
    """Return `text` in lower case, without the month of May."""
    return (_MONTH.sub("", text) if "May" in text else text).lower()


_PREMISES = frozenset(["if", "could", "assuming", "otherwise"])
"""What a calculation may start from: `if the rest are white, 50 - 30 = 20 are white`."""


def _sure(before: str) -> bool:
    return re.search(r"\b(?:no|without(?: a| any)?) doubt\b", before) is not None


def _asserts(text: str, *, marked: bool = True) -> bool:
    words = _WORD.findall(text)
    if not words:
        return True
    opening = OPEN_WORDS.intersection(words)
    if opening and not _sure(text):
        premise = not marked and opening <= _PREMISES and "would" not in text
        if not (premise and _CALCULATES.search(text)):
            return False
    if "would" in text and _WOULD.search(text) is not None:
        return False
    for hint in _HINTS:
        if hint in text:
            return _WITH_OTHERS.search(_CONCLUSION.split(text)[-1]) is None
    return True


_CONCLUSION = re.compile(r"\b(?:hence|therefore|thus)\b")
"""What comes before it is a step: "it is false that it fails, hence the claim is true"."""
