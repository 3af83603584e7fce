"""What a response denies, refutes or takes back: one vocabulary for all families.

`not (B)`, `5 is wrong`, `anything but yes`, `the answer is 5. Wait, I made a mistake`.
"""

from __future__ import annotations

import re

__all__ = [
    "CORRECTED",
    "DENIED_AFTER",
    "NAME_THEN",
    "NEGATION",
    "REFUTED_AFTER",
    "denied",
    "refutes",
    "retracts",
]

NAME_THEN = r"(?:[\s*_\"'“($]+[a-zA-Z](?:_\w)?\s*=)?"
"""Between a word and what it denies or bounds: `at least x = 5`."""

_NEGATIVES = (
    r"not|no(?!\s*:)|never|hardly|neither|nor|none|nothing|nobody|cannot|fails? to|failed to|without|except"
    r"|unlike|rather than|instead of|other than|no longer|far from|(?:any|every)thing but|all but"
    r"|avoid(?:ing)?|(?:rul|eliminat|exclud|discard|reject)(?:es?|ed|ing|s)?(?: out)?"
)
NEGATION = re.compile(rf"(?:\b(?:{_NEGATIVES}|doubt(?:ful)?|refuses?|lacks?|fails?|wrong|mistake)|n['’]t)\b")
"""A denial of whatever the sentence says; for text in lower case."""
_fillers = """
    equal equals to exactly simply just merely be been being the number value list really actually only about
    by given as quite necessarily always likely both either of in out at for any answer possible even yet
    precisely equivalent correct right true final actual supposed meant think believe say claim expect choose
    pick select option options choice choices with go that it this they is are was were near nearly close
"""
_FILLERS = r"(?-i:an?)|\w+ly|" + "|".join(_fillers.split())
"""Words between a denial and what it denies: `not really equal to 5`, `never choose option (B)`."""
_DENIED = re.compile(
    rf"(?:\b(?:{_NEGATIVES})|n['’]t)(?:[\s*_\"'“($:]+(?:{_FILLERS})\b)*+{NAME_THEN}[\s*_\"'“($:]*$",
    re.IGNORECASE,
)
_HINTS = (
    "no", "n't", "n’t", "ne", "hardly", "fail", "without", "except", "unlike", "than", "instead", "from",
    "but", "avoid", "rul", "elim", "exclu", "discard", "reject",
)  # fmt: skip
"""One of these is in every denial, and plain searches are faster."""


def denied(before: str) -> bool:
    """Return whether `before` ends so that it denies the number, label, list or word that follows it."""
    lowered = before.lower()
    for hint in _HINTS:
        if hint in lowered:
            return _DENIED.search(before) is not None
    return False


_BAD = (
    r"wrong|incorrect|untrue|false|bad|trap|decoy|opposite|distractor|invalid|impossible|excluded|extraneous"
    r"|(?:ruled|left) out|eliminated|rejected|discarded"
)
_VERB = r"(?:is|are|was|were|seems?|looks?|would be|must be|can|could|should|must)"
_ADVERBS = r"(?:all\s+|also\s+|both\s+|clearly\s+|certainly\s+|of course,?\s+)*"
_NOT_RIGHT = (
    r"(?:not|n['’]t)\s+(?:it|possible|valid|true|right|correct"
    r"|(?:the|an?)\s+(?:\w+\s+)?(?:answer|solution|option))"
)
DENIED_AFTER = re.compile(
    rf"[\s*)\"'_$\]]*(?:[(\[]\s*(?:{_BAD}|not (?:right|correct|true|valid)\b)|[❌✗✘]"
    rf"|(?:[:—–]|-\s)\s*(?:{_BAD}|no|not)\b|[a-zA-Z]+\s+(?:is|are|was|were)\s*(?:{_BAD}|{_NOT_RIGHT})\b"
    rf"|(?:,[^,.]{{1,30}},\s*)?{_VERB}\s*,?\s*{_ADVERBS}(?:be\s+)?"
    rf"(?:not|n['’]t|(?:(?:an?|the|only|just|half|partly|close to|best)\s+)*(?:{_BAD}|partly|half|avoided)"
    r"|close, but|out\b(?! of)|tempting|plausible|possible|unlikely|less likely|irrelevant|too\s+\w+)\b"
    r"|(?:isn|aren|can|wasn|doesn|don|won)['’]t\b|does not\b|do not\b|fails?\b|contradicts?\b|makes? no\b"
    r"|nothing\b"
    r"|the (?:opposite|negation|converse|contrary|reverse)\b)",
    re.IGNORECASE,
)
"""What begins so denies what is before it: `(B) is wrong`, `5 apples is not it`, `(B), of course, fails`."""

REFUTED_AFTER = re.compile(
    rf"[\s*)_$\]]*(?:\(\s*(?:{_BAD}|not (?:right|correct|true|valid)\b)|[❌✗✘?？]"
    rf"|(?:is|was)\s*{_ADVERBS}(?:{_BAD}|{_NOT_RIGHT}|(?:my|an?|just a) guess)\b"
    r"|(?:cannot|can['’]t)\s+be\b|does(?: not|n['’]t)\s+(?:work|fit)\b)",
    re.IGNORECASE,
)
"""The same after a box, whose sentence may go on: `\\boxed{19}, however, is not prime`."""

_REFUTED = re.compile(
    r"\b(?:is|are|was|were|be)\s+(?:\w+ly\s+)?(?:wrong|incorrect|untrue|impossible|excluded|(?:ruled"
    r"|left) out|eliminated"
    r"|rejected|discarded|too\s+(?:large|small|big|many|much|few|high|low))\b"
    r"|\b(?:does not|doesn['’]t|do not|don['’]t)\s+(?:work|fit|follow|hold|satisfy|count)\b|\bfails\b"
    r"|\b(?:is|are|was|were) not[.!]?$|\b(?:is|are|was|were)n['’]t[.!]?$"
)


def refutes(sentence: str) -> bool:
    """Return whether a sentence says that something is wrong, impossible or too large."""
    return _REFUTED.search(sentence.lower()) is not None


CORRECTED = (
    r"\bor rather\b|,?\s+\bi mean(?:t)?\b|\b(?:scratch|strike) that\b|\bno[,\s]+wait\b"
    r"|[,;.…—–-]\s*(?:wait|oops|sorry|actually)\b|,\s*no\s*,|\([^()]{0,20}\?\)|[❌✗✘]"
    rf"|[(\[]\s*(?:{_BAD}|changed|crossed|correct(?:ion|ed)|or\b|not (?:right|correct|true)\b)"
)
"""A sentence that corrects itself: `5, I mean 6`, `5 (wrong)`."""

_START = r"(?:^|[.!?…\n—–>)]|\s-)[\s.!?*_>\"'(—–-]{0,12}+(?:(?:but|so|and|oh|ah|however|though|well)\b,?\s*)*"
_RETRACTED = re.compile(
    rf"{_START}(?:wait\b(?!\s+times?)|hmm+\b|oops\b|hold on\b|(?:scratch|strike) that"
    rf"|(?:i['’]m\s+)?sorry\b|nope\b"
    r"|(?:correction|corrected|revised|updated)\b|(?:edit|update)\s*[:：]|just kidding|no\s*[,:.!—–-]"
    r"|no wait|actually\b"
    r"|(?:on|after|upon)\s+(?:second|further|closer|more|re\w+|review)|my apolog|that said\b|none of\b"
    r"|(?:please )?(?:ignore|disregard|forget)\b"
    r"|[❌✗✘]|not (?:quite|really"
    r"|exactly|so)\b"
    r"|let(?:['’]s| me| us)\s+(?:re\w+|double)"
    r"|i(?:['’]m| am| was) (?:wrong|mistaken)|final\s*:"
    r"|i (?:meant\b|mis\w+|take (?:that|it) back|changed? my|apologi|(?:have "
    r"|['’]ve )?made an? (?:\w+ )?(?:mistake|error)"
    r"|need to (?:re\w+|correct|fix))"
    r"|or\s+(?:is|are|maybe|perhaps|rather|possibly|\(?[a-z]\)?(?=\W|$)|\$?-?\d)"
    r"|(?:it|this|that)(?:['’]s| is) (?:actually|really)\b|(?:it|this|that|the answer) (?:should"
    r"|ought to) (?:have been|be)\b"
    r"|(?:my|the (?:above|previous|reasoning))\b[^.!?\n]{0,40}\b(?:wrong|flawed|incorrect|mistaken?"
    r"|errors?)\b"
    r"|there (?:is|was) an? (?:error|mistake)\b"
    r")|\bi mean(?:t)?\b|\b(?:also|equally) (?:possible|correct|right|valid)\b"
    rf"|{_START}(?:等等|等一下|不对|更正|修正|抱歉|其实|我?(?:算|看|写|弄|搞)错|应该?[是为])",
    re.IGNORECASE,
)
_IT = (
    r"(?:(?:this|that|it|which|(?:the|my|this|that)\s+(?:last\s+|final\s+|above\s+)?(?:answer|result|choice))"
    r"\s+)"
)
_TAKEN_BACK = re.compile(
    rf"{_START}{_IT}"
    r"(?:(?:is|was|seems|looks|must be)\s+(?:\w+ly\s+|also\s+)?"
    r"(?:not\s+(?:right|correct|true|it|the answer)\b|wrong|incorrect|false|untrue|an? (?:mistake|error))"
    r"|(?:is|was)n['’]t\s+(?:right|correct|true|it)"
    r"|(?:cannot|can['’]t|can not|couldn['’]t)\s+be(?:\s+(?:right|correct|true|it|so|the)\b|[.!\s]*$)"
    r"|(?:does not|doesn['’]t)\s+(?:work|fit|match|make sense|look right|seem right|satisfy))",
    re.IGNORECASE,
)


def retracts(after: str, *, of_no: bool = False) -> bool:
    """Return whether what follows an answer takes it back: `Wait, …`, `That is wrong.`, `No, 6.`

    With `of_no`, the answer is "no" or "false", which `This is wrong` confirms.
    """
    if not after or after.isspace():
        return False
    if _RETRACTED.search(after) is not None:
        return True
    return not of_no and _TAKEN_BACK.search(after) is not None
