"""Whether a sentence states its answer or only entertains it: one vocabulary for all families.

A sentence that supposes, asks, doubts or quotes an answer states none: "if x were 2, the answer would be 5",
"it could be (B)", "some would say yes", "is it [1, 2]?". A reason after the answer does not count
("5, because if each had 2 ...").
"""

from __future__ import annotations

import re
from functools import lru_cache

from dast_jax.verifiers.denial import CORRECTED, NEGATION

__all__ = ["CONCLUSION", "REASON", "attributed", "introduces", "names_another", "states"]

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
    r"|\b(?:and|or) something else\b|\baccording to (?!(?:the|this|these|our|what|my|its)\b)"
    r"|\bno (?:way (?:that|the|it)|idea|clue)\b"
    r"|\b(?:it is|it['’]s|is) (?:false|wrong|untrue) (?:that|to)\b|\bor\s+(?:something|else|another"
    r"|maybe|not|both|neither|none|others?)\b"
    r"|\b(?:which|that|this|it|but) is (?:wrong|incorrect|false|untrue)\b"
    r"|\bbut (?:it|this|that) (?:(?:is not|isn['’]t)[.!]?\s*$|would\b)|\bwhen\b.{0,60}\bwhen\b|\bright\s*\?"
    r"|\bonly (?:if|when|for|in|on|once|under|with)\b|\bwith probability\b"
    rf"|{CORRECTED}"
)
"""Several words that leave it open; searched for where a word or sign of `_HINTS` is in the sentence."""

_hints = """
    not t let cannot some many most few people students others one you said thought believed claimed supposed
    assumed been answer answers cases guess something according no way idea clue false wrong untrue incorrect
    or impossible hard when right only probability but rather mean meant scratch strike wait oops sorry
    actually never hardly
"""
_HINTS = frozenset(_hints.split())
_SIGNS = frozenset("([❌✗✘")
_WOULD = re.compile(r"\bwould\b.*\b(?:were|had|without|only|but)\b|\b(?:were|had|without)\b.*\bwould\b")
REASON = re.compile(
    r"[\s,;:(]+(?:because|since|as(?! (?:if|though|long|far)\b)|whereas|while|although|though"
    r"|even(?! if\b))\b"
)
"""What a sentence says after such a word does not count: `(B), because (A) is dry`; for lower case."""

_IMPERATIVE = re.compile(
    r"\W*(?:(?:now|so|then|next|first)\b\W*)?(?:(?:i|we|he|she|they) want(?:s|ed)?|let|try|consider"
    r"|check|see|look|start|round|test|imagine|avoid)\b"
)
_CALCULATES = re.compile(r"\d[a-z\s%)]*=\s*\$?\s*-?[\d.]")
_TURN = re.compile(r"[,;:—–(]|\b(?:but|so|then|hence|thus|therefore)\b")
_OTHER = (
    r"wrong|incorrect|false|tempting|possible|plausible|first|previous|initial|old|original|alternative"
    r"|worst|common|his|her|your|their|student['’]?s?|least\s+(?:likely|plausible)|rejected|example|sample"
    r"|candidate|suggested|alleged|popular|majority|distractor|(?:second|next) best"
)
_NOT_THE = re.compile(
    rf"\b(?:{_OTHER}"
    r"|(?<!question)(?<!problem)(?<!exercise)['’]s|(?:opposite|contrary|reverse|negation|inverse|alternative"
    r"|half|double|twice|square)(?: (?:of|to)(?: the)?)?)\s+$"
    r"|\b(?:last|previous) (?:year|time|week|month)\b|^\W*for\s+\$?[a-z]\s*(?:[<>≤≥≠]|\\[gln]e)"
)
_ANOTHER = re.compile(
    rf"(?:\b(?:{_OTHER}|runner-up|input|given|starting|unsorted|guess)"
    r"(?:\s+(?:lists?|arrays?|sequences?|tuples?|sets?|order|options?|choices?|ones?|guess))?\s*"
    r"|\bbefore(?:\s+\w+)?\s*)(?:is|was|are|were|:|=)[\s:*$\"'(\[]*$"
    r"|^\W*(?:now|next|first)(?:\s+(?:is|for|to|comes?|the|options?|choices?|we|have|try))*[\s:*$\"'(\[]*$"
    r"|\b(?:used|ought|supposed|seems?|appears?|looks?) (?:to be|like)[\s:*$\"'(\[]*$"
    r"|\b(?:first|initially|originally|previously)\s+\w+[\s:*$\"'(\[]*$"
    r"|(?:\be\.?g\.?|\bfor (?:example|instance)|\bsuch as|\blike)[\s:,*$\"'(\[]*$",
    re.IGNORECASE,
)


def names_another(before: str) -> bool:
    """Return whether what is before a list or label makes it another than the answer's.

    `The original list is [1, 2]`, `the runner-up is (B)`, `such as [1, 2]`.
    """
    return _ANOTHER.search(before) is not None


_SAYING = re.compile(
    r"(?:\b(?P<own>i|we|i['’]d|i['’]ll|we['’]d|let['’]s)\s+(?:\w+\s+){0,2}?)?"
    r"\b(?:says?|said|thinks?|thought|believes?|believed|claims|claimed|argue[sd]?|guesse[sd]|suppose[sd]?"
    r"|insist(?:s|ed)|replie[sd]|answer(?:s|ed)|told(?:\s+\w+)?|ask(?:s|ed)|expect(?:s|ed)|predict(?:s"
    r"|ed))\b,?"
    r"(?:[\s:\"'“*]+(?:that|the|my|it|this|is|was|claim|statement|correct|right|best|final"
    r"|whether)\b)*[\s:\"'“*]*$"
)


def attributed(before: str) -> bool:
    """Return whether `before`, in lower case, ends with somebody else's saying so: `Tom says that it`."""
    saying = _SAYING.search(before)
    return saying is not None and saying["own"] is None


_CHINESE = re.compile(
    "如果|假如|假设|假定|若|可能|也许|或许|大概|似乎|猜|不确定|未必|难道|(?<!,)(?<!,而)不是|不选|不…|并非|不对|不正确|错误"
    "|有人说|据说|曾|原以为|一开始|改为|还是|错了|也可|也对|除了|吗|大于|小于|超过|不足|至少|至多"
)
"""The same in Chinese: supposed, doubted, denied, asked, bounded."""

_MONTH = re.compile(r"\bMay\b(?! be\b)")


def states(before: str, sentence: str, *, marked: bool = True) -> bool:
    """Return whether a sentence states the answer that `sentence` holds, `before` being what precedes it.

    `before` is what the sentence says before a mark; all of an unmarked sentence is `sentence`.
    """
    sentence = sentence.rstrip(" \t\r\n*_\"')]}$")
    if sentence.isascii() and (sentence.isdigit() or (len(sentence) == 1 and sentence.isalpha())):
        return introduces(before)
    if sentence.rstrip("!").endswith(("?", "？")):
        return False
    if not sentence.isascii() and _CHINESE.search(sentence):
        return False
    after = _lowered(sentence)
    if before.startswith("would "):  # `the answer would be 5, but …`
        after = f"would be {after}"
    if not marked and _IMPERATIVE.match(after) and not _CALCULATES.search(after):
        return False
    if not _asserts(after, marked=marked):
        reason = REASON.search(after, 1)
        if reason is None or not _asserts(after[: reason.start()], marked=marked):
            return False
    return introduces(before)


@lru_cache(maxsize=4_096)
def introduces(before: str) -> bool:
    """Return whether what a sentence says before a mark lets the mark state an answer.

    Cached, as answers are announced in few ways.
    """
    if not before or before.isspace():
        return True
    if not before.isascii() and _CHINESE.search(f"{before}…"):
        return False
    before = _lowered(before)
    if not _asserts(before) or _NOT_THE.search(before) or attributed(before):
        return False
    denials = list(NEGATION.finditer(before))
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
    if _HINTS.isdisjoint(words) and _SIGNS.isdisjoint(text):
        return True
    return _WITH_OTHERS.search(CONCLUSION.split(text)[-1]) is None


CONCLUSION = re.compile(r"\b(?:hence|therefore|thus)\b")
"""What comes before it is a step: "it is false that it fails, hence the claim is true"."""
