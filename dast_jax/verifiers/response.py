"""The part of a response that is graded, in one spelling, before any family reads it.

Reasoning between `<think>` tags is not an answer, and neither is what a model writes after it went on to
another problem. Characters that look alike or stand for LaTeX are spelled one way (`−3`, `x²`, `½`, `√3`).
"""

from __future__ import annotations

import re

__all__ = ["graded_part", "join_thousands", "one_spelling", "runs_away"]

# --- reasoning ----------------------------------------------------------------------------------------

_OPEN = re.compile(r"<(think(?:ing)?|reasoning|thought)>", re.IGNORECASE)
_CLOSE = re.compile(r"</(?:think(?:ing)?|reasoning|thought)>", re.IGNORECASE)
_MARKUP = re.compile(r"<[/|etrTR]")
"""What opens any tag or chat template's mark."""
_TAG = re.compile(r"<(?:/?[tT][hH]|/?[rR][eE][aA])")


def graded_part(text: str) -> str:
    """Return `text` without reasoning and without further problems, in one spelling."""
    marked_up = "<" in text and _MARKUP.search(text) is not None
    if marked_up and _TAG.search(text):
        text = _without_reasoning(text)
    own = _own_problem(text, marked_up=marked_up)
    if not own[-1:].isalnum():  # as in `#### 18`
        own = _without_closing(own)
    return one_spelling(_STRUCK.sub(" ", own) if "~" in own else own)


_CLOSING = re.compile(
    r"(?<=[.!?)*}$\d])[\s*]*(?:"
    r"(?:(?:Would you like|Do you (?:want|need)) (?:me to|any more|more|help)"
    r"|Do you have any (?:other |more )?questions|Is there anything else|(?:Please )?let me know if you"
    r"|(?:Please )?feel free to (?:ask|reach|let)"
    r"|Let me know if anything is unclear|I hope (?:this|that|it) helps|Hope (?:this|that) helps"
    r"|If you (?:have|need) (?:any|more|further|other) (?:questions|help|clarification|explanation))"
    r"\b[^.!?\n\d\\$]{0,160}[.!?]?|[\U0001F600-\U0001F606\U0001F60A\U0001F642\U0001F44D\U0001F389\u2728]"
    r")[\s*]*$",
    re.IGNORECASE,
)
"""What chat models say last, to the reader and not about the problem: `Let me know if you have questions!`

It holds no number: `If you have 5 apples and ask for 3 more, you get 8` is the answer.
"""


def _without_closing(text: str) -> str:
    """Cut up to three courtesies from the end."""
    for _ in range(3):
        tail = text[-_COURTESY:]
        if tail.isascii() and not any(word in tail for word in _COURTEOUS):
            break
        if (closing := _CLOSING.search(tail)) is None or closing.start() == 0:
            break
        text = text[: len(text) - len(tail) + closing.start()]
    return text


_COURTESY = 220
_COURTEOUS = ("you", "helps", "know if", "eel free", "else")
"""One of these is in each of them, smileys aside."""


_STRUCK = re.compile(r"~~(?=\S)[^~\n]{1,200}(?<=\S)~~")
"""Markdown's strikethrough: what is struck out is not said."""


def _without_reasoning(text: str) -> str:
    """Cut `<think>…</think>`, all before a lone `</think>` and after a lone `<think>`.

    Chat templates may end with `<think>`: then the response holds only its end.
    """
    kept: list[str] = []
    at, closed = 0, list(_CLOSE.finditer(text))
    if not closed:
        opened = _OPEN.search(text)
        return text if opened is None else text[: opened.start()]
    for close in closed:
        opened = _OPEN.search(text, at, close.start())
        if opened is None:
            kept.clear()
        else:
            kept.append(text[at : opened.start()])
        at = close.end()
    rest = text[at:]
    opened = _OPEN.search(rest)
    kept.append(rest if opened is None else rest[: opened.start()])
    return "".join(kept)


def runs_away(text: str, *, truncated: bool) -> bool:
    """Return whether a response continues with another problem, or to its limit with the same piece of text.

    What follows its own problem is not graded. [ours] A piece has up to 120 characters, and fills the last 40
    of the response and is there five times, or more.
    """
    if _own_problem(text) != text:
        return True
    return truncated and any(_ends_with_repeats(text, piece) for piece in range(1, 121))


def _ends_with_repeats(text: str, piece: int) -> bool:
    """Return whether the end of `text` is one piece of so many characters again and again."""
    end = text[-max(5 * piece, 40) :]
    return len(end) >= 5 * piece and len(end) >= 40 and end[piece:] == end[:-piece]


# --- the next problem ---------------------------------------------------------------------------------

_PROBLEM = re.compile(
    r"\n[ \t]*(?!####[ \t]*[-$\d])"
    r"(?=(?-i:[#*<\[Qq问题]|[Pp][Rr]|[Ee][Xx]|[Ii][Nn]|[Uu][Ss]|[Hh][Uu]|[Nn][Ee]|[Aa][Nn][Oo]))(?:"
    r"(?:#{1,3}[ \t]*)?(?:\*\*)?(?:(?:Next|New|Another)[ \t]+)?"
    r"(?:Problem|Question|Exercise|Instruction|User|Human|Input|Q|问题|题目)"
    r"[ \t]*(?P<number>\d{1,4})?[ \t]*(?:\*\*)?[ \t]*[:：]"
    r"|(?:\*\*)?(?:Problem|Question|Exercise|Example)[ \t]+(?P<counted>\d{1,4})[ \t]*"
    r"(?:[.):]|(?:\*\*)?[ \t]*$)"
    r"|(?:user|human)[ \t]*$|\[INST\]"
    r"|#{1,4}[ \t]*(?:Problem|Question|Exercise|Instruction|User|Human)[ \t]*\d{0,4}[ \t]*$"
    r"|<\|(?:im_start|start_header_id)\|>\s*user)",
    re.IGNORECASE | re.MULTILINE,
)
"""A header on a line of its own: the pattern opens with the line end, which is searched for fast."""


def _own_problem(text: str, *, marked_up: bool = True) -> str:
    """Cut `text` where it continues with another problem (`\\n\\nProblem: …`).

    A response that opens with the problem restates it; one that takes it apart counts its questions
    (`Question 1: …`) before it announces an answer. After a colon (`To restate:`) nothing is cut.
    `marked_up` says whether there may be marks of a chat template.
    """
    if marked_up or ("[" in text and "[INST]" in text):
        turn = _TURN.search(text, 1)
        text = text if turn is None else text[: turn.start()].rstrip()
    if _PROBLEM.search("\n" + text) is None:
        return text
    steps, first = 0, -1
    opening = len(text) - len(text.lstrip()) if text[:1].isspace() else 0
    for match in _PROBLEM.finditer("\n" + text):
        start = match.start()  # in `text`, this is where the line begins
        if first < 0:
            announced = _ANNOUNCED.search(text)
            first = len(text) if announced is None else announced.start()
        number = int(match["number"] or match["counted"] or 0)
        if number == steps + 1 and start <= first:
            steps = number
        elif start > opening and not text[:start].endswith(_RESTATES):
            return text[:start].rstrip()
    return text


_TURN = re.compile(
    r"\[INST\]|<\|(?:im_start|start_header_id)\|>\s*user"
    r"|<\|(?:eot_id|im_end|end_of_turn|endoftext|end_of_text)\|>|</s>|<end_of_turn>|<eos>"
)
"""A chat template's own marks, wherever they are: the turn ends there."""

_RESTATES = tuple(colon + space for colon in ":：" for space in ("", "\n", "\n\n", " \n"))

_ANNOUNCED = re.compile(r"boxed|####|\banswer|答案", re.IGNORECASE)


# --- characters ---------------------------------------------------------------------------------------

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SCRIPTS = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+)|[₀₁₂₃₄₅₆₇₈₉]+")
_NOT_ASCII = re.compile("[^\x00-\x7f]+")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[A-Za-z]))")
_FRACTIONS = {
    "½": "12", "⅓": "13", "⅔": "23", "¼": "14", "¾": "34", "⅕": "15", "⅖": "25", "⅗": "35", "⅘": "45",
    "⅙": "16", "⅚": "56", "⅛": "18", "⅜": "38", "⅝": "58", "⅞": "78",
}  # fmt: skip
_SPELLINGS = (
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
    | dict.fromkeys("−‐‑‒–﹣", "-")
    | dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " ")
    | dict.fromkeys("\u200b\u2060\ufeff", "")
    | {"⁄": "/", "∕": "/", "。": ". ", "、": ", ", "∅": "\\emptyset ", "∞": "\\infty "}
    | {"π": "\\pi ", "∪": "\\cup ", "∩": "\\cap ", "±": "\\pm ", "θ": "\\theta "}
    | {char: f"\\frac{{{parts[0]}}}{{{parts[1]}}}" for char, parts in _FRACTIONS.items()}
)
_TABLE = str.maketrans(_SPELLINGS)


def one_spelling(text: str) -> str:
    """Return `text` with one character for all that mean the same, and LaTeX for mathematical ones."""
    if text.isascii():
        return text
    text = _NOT_ASCII.sub(_ascii, text)
    return _ROOT.sub(lambda m: f"\\sqrt{{{m[1] or m[2] or m[3]}}}", text) if "√" in text else text


def _ascii(match: re.Match[str]) -> str:
    return _SCRIPTS.sub(_script, match[0]).translate(_TABLE)


def _script(match: re.Match[str]) -> str:
    if match[1]:
        return f"^{{{match[1].translate(_SUPERSCRIPTS)}}}"
    return f"_{{{match[0].translate(_SUBSCRIPTS)}}}"


# --- quantities written in several words --------------------------------------------------------------

_SPACED = re.compile(r"(?<![\w.,/^_{\\])\d{1,3}(?:(?: \d{3})+|(?:['’]\d{3})+)(?![\w'’/]|[.,]\d{3}(?!\d))")
_GROUPS = re.compile(r"\d[ '’]\d{3}")
_THIN = re.compile(r"(?<=\d),\\!\s*(?=\d{3}(?!\d))")
_MINUS = re.compile(
    r"(?P<before>[\w)}$%]\s+)?\b(?:minus|negative)\s+(?=\\?\$?\\?[\d.(]|\\(?:d|t)?frac|\\sqrt|\\pi)"
)
_HALF = re.compile(
    r"(?P<whole>(?<![\w.,/])\d{1,9})\s+and\s+(?:a|one|1|three)[\s-]+(?P<part>half|third|quarters?|fourths?)\b"
)
_CENTS = re.compile(r"(?<![\w.,/])(\d{1,9}) dollars? and (\d{1,2}) cents?\b")
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4}
_BLANK = re.compile(r"(?<!\w)__+(?P<inner>[^_\s](?:[^_\n]{0,80}[^_\s])?)__+(?!\w)|(?<!\w)_{2,}(?!\w)")
_CODE_TICKS = re.compile(r"`([^`\n]{1,60})`")


def join_thousands(text: str) -> str:
    """Return `text` with quantities in one word: `12 500`, `1'000`, `11,\\! 111`, `minus 3`, `3 and a half`.

    So is `18 dollars and 50 cents`. Blanks and underlining (`___`, `__42__`) and code ticks go too.
    """
    if "_" in text:
        text = _BLANK.sub(lambda m: m["inner"] or "", text)
    if "`" in text:
        text = _CODE_TICKS.sub(r"\1", text)
    if "\\" in text:
        text = _THIN.sub(",", text)
    if _GROUPS.search(text):
        text = _SPACED.sub(lambda m: re.sub("[ '’]", "", m[0]), text)
    if "minus" in text or "egative" in text:
        text = _MINUS.sub(_minus, text)
    if " and " in text and (
        "hal" in text or "third" in text or "quarter" in text or "fourth" in text or "dollar" in text
    ):
        text = _HALF.sub(_mixed, text)
        if "dollar" in text:
            text = _CENTS.sub(_with_cents, text)
    return text


def _minus(match: re.Match[str]) -> str:
    """`is minus 3` has a sign, `5 minus 3` an operator."""
    before = match["before"] or ""
    return f"{before}- " if before and not before[0].isalpha() else f"{before}-"


def _with_cents(match: re.Match[str]) -> str:
    """`18 dollars and 50 cents` is one quantity."""
    return f"{match[1]}.{int(match[2]):02d} dollars"


def _mixed(match: re.Match[str]) -> str:
    part = match["part"].rstrip("s")
    top = 3 if "three" in match[0] else 1
    return f"{match['whole']}\\frac{{{top}}}{{{_PARTS[part]}}}"
