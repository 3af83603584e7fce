"""What a sentence points at: one grammar for numbers, formulas, lists and labels in sentences.

A candidate counts where what stands directly before it introduces a value (`is 5`, `she has 5`, `x = 5`,
`so (B)`), and not where any other word does: `near 5`, `ends in 5`, `add 5`, `better than (B)`. The words
that introduce are few and can be listed; those that turn a number into something else cannot.
"""

from __future__ import annotations

import re

from dast_jax.verifiers.denial import NEGATION

__all__ = ["AFFIRMED", "ENDS_PREDICATE", "introduces_label", "introduces_value", "turns"]

_copulas = """
    is are was were be been equal equals become becomes remain remains total totals mean means it's that's
    there's he's she's it’s that’s there’s
"""
"""`It is 5`, `That's (B)`, `The total becomes 5`."""
_having = """
    has have had get gets got getting obtain obtains obtained give gives giving yield yields make makes made
    cost costs takes took need needs needed earn earns earned pay pays paid spend spends spent leave leaves
    leaving left sell sells sold buy buys bought eat eats ate drink drinks drank ran walked drove biked
    hiked traveled travelled scored work worked receive receives received weigh weighs weighed contain
    contains contained save saves saved lost find found uses used raised collected picked sent delivered
    read rained
"""
"""What people have, do and get in word problems: `She has 5 apples`, `It costs $5`."""
_connectives = "so thus hence therefore then and conclude"
"""`So 5 apples are left`, `Therefore (B)`."""
_choosing = (
    "choose pick select mark answer leaves leaving indicates implies go-with left-with leaves-with points-to"
)
"""What chooses a label: `I choose (B)`, `That leaves (B)`."""
_fillers = """
    the a an exactly precisely about approximately approx around roughly just only simply also therefore
    thus then now still indeed actually really clearly definitely certainly surely obviously likely each
    together altogether here again finally all both either him her them us me you he she they we i it there
    that which final correct right true exact best most possible desired required whole positive total
    number numbers value values integer integers answer answers result results solution solutions sum
    quantity fraction decimal expression function polynomial equation matrix vector point pair ordered
    interval set line ratio probability area length angle list sequence array order sorted label relation
    relationship
"""
"""Words that may stand between: `is exactly 5`, `gives her 5`, `is the list [1, 2]`."""
_options = (
    "option options choice choices letter letters statement alternative neither nor or not by elimination"
)

_COPULAS = frozenset(_copulas.split())
_CONNECTIVES = frozenset(_connectives.split())
_VALUE = _COPULAS | frozenset(_having.split()) | _CONNECTIVES
_CHOOSING = frozenset(_choosing.split())
_BY_SOMEBODY = frozenset(["choose", "pick", "select", "mark", "answer", "go-with"])
_BY_US = re.compile(
    r"(?:^|[^\w\s]|\b(?:i|we)(?:\s+(?:would|will|must|should|can|have to|finally|therefore))?|\b(?:i"
    r"|we)['’](?:d|ll)"
    r"|\b(?:so|and|then|therefore|thus|hence|must|should|us))[\s*]*(?:go\s*)?$",
    re.IGNORECASE,
)
"""Who chooses: `I would pick (B)`, `So choose (B)`; not `nobody would choose (B)`, `wrong to choose (B)`."""
_FILLERS = frozenset(_fillers.split())
_LABEL_FILLERS = _FILLERS | frozenset(_options.split())
_TO = frozenset(["equal", "come", "comes", "came", "amount", "amounts", "up", "evaluates", "simplifies"])
_CHANGES = re.compile(r"\b(?:chang|increas|decreas|reduc|grow|grew|rose|fell|drop)\w*\b", re.IGNORECASE)
_GAP = " \t\r\n*_\"'“‘($\\{["
_ENDS_CLAUSE = frozenset(":=,;—–!?.→&")
_LAST_WORD = re.compile(r"[\w'’-]+$")
_PREDICATE_END = r"(?=[\s*_\"'”’)$\]}]*(?:$|[.;:!)—–]|,(?!\s*but\b)|(?:because|since|as|and|here|in this)\b))"
ENDS_PREDICATE = re.compile(_PREDICATE_END, re.IGNORECASE)
"""What may follow `is correct`; `is correct in part` and `is true, but …` say something else."""
AFFIRMED = re.compile(
    r"[\s*_\"'”’)$\]}]*(?:$|[✅✓✔☑]|\.(?![a-zA-Z]\b)|[,;:!)\]—–|/&]|-\s|\("
    r"|(?:because|since|as|for|and|or|nor|but|which|that|not|here)\b"
    r"|(?:is|are|must be|would be|seems?|looks?|appears?|has to be)(?: to be)?"
    r"(?:\s+(?:also|indeed|clearly|therefore|definitely|certainly|obviously|most|likely|probably|both|the"
    r"|only|our"
    r"|my|one|option|choice|answer))*\s+"
    r"(?:correct|right|best|true|valid|answer|option|choice|suitable|appropriate|accurate|likely|it)\b"
    rf"(?:\s+(?:answer|option|choice|one|statement))?{_PREDICATE_END})",
    re.IGNORECASE,
)
"""`(B) is correct`, `(B), because …`; not `(B) misreads the text`, `B is correct in part`."""


def introduces_value(before: str) -> bool:
    """Return whether `before`, which ends where a number, formula or list begins, introduces a value."""
    word, rest = _introduction(before, _FILLERS)
    if word in _VALUE or word in _ENDS_CLAUSE or not word:
        return True
    if word == ">":  # an arrow
        return rest.endswith(("-", "="))
    last = _LAST_WORD.search(rest.rstrip())
    previous = "" if last is None else last[0].lower()
    if word == "to":
        return previous in _TO
    if word == "of":
        return previous in ("total", "answer", "result")
    if word == "by":
        return _CHANGES.search(rest) is not None
    if word == "or":  # `three quarters, or 3/4`
        return rest.rstrip().endswith(",")
    return (word == "follows" and previous == "as") or (word == "up" and previous == "picked")


_TURNS = re.compile(r"\b(?:but|rather|instead)\b[\s*_\"'“($\\]*(?:[a-zA-Z]\s*=\s*)?[\s$]*$")


def turns(before: str) -> bool:
    """Return whether `before` turns from what was denied to the answer: `not 4 but`."""
    return _TURNS.search(before) is not None


def introduces_label(before: str, after: str) -> bool:
    """Return whether the label between both is chosen: `so (B)`, `B is correct`, `it is (B) palms`."""
    word, rest = _introduction(before, _LABEL_FILLERS)
    if word in ("with", "to"):
        last = _LAST_WORD.search(rest.rstrip())
        word = "" if last is None else f"{last[0].lower()}-{word}"
        return word in _CHOOSING
    if word in _BY_SOMEBODY:
        return _BY_US.search(rest) is not None
    if word in _COPULAS or word in _CHOOSING or word == ":":
        return True
    if word in ("yes", "no") or (word == "but" and (rest.strip() == "," or NEGATION.search(rest.lower()))):
        word = ""
    opens = not word or word in _CONNECTIVES or word in _ENDS_CLAUSE
    return opens and AFFIRMED.match(after) is not None


def _introduction(before: str, fillers: frozenset[str]) -> tuple[str, str]:
    """Return the last word of `before` that is no filler, or its last sign, and what precedes that."""
    rest = before.rstrip(_GAP)
    while rest:
        match = _LAST_WORD.search(rest)
        if match is None:
            return rest[-1], rest[:-1]
        word = match[0].lower()
        if word not in fillers:
            return word, rest[: match.start()]
        rest = rest[: match.start()].rstrip(_GAP)
    return "", ""
