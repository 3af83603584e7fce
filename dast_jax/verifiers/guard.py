"""What is refused before its meaning is examined: text and answers that resemble no genuine answer.

Every check is linear in the text, and states in words why it refused.
"""

from __future__ import annotations

import math
import re

from dast_jax.verifiers.options import VerifierOptions

__all__ = ["looks_like_code", "refuse_answer", "refuse_text"]

_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f]")
_CODE = re.compile(
    r"__\w+__|\b(?:exec|eval|compile|open|getattr|setattr|globals|locals|vars|breakpoint|input|__\w+"
    r"|lambdify|sympify|parse_expr|system|popen|subprocess\.\w+|os\.\w+|sys\.\w+)\("
    r"|(?<!\\)\blambda(?:\s+\w+)?\s*:|\bimport\s+(?:os|sys|subprocess|shutil|socket|builtins|pathlib"
    r"|ctypes)\b"
)
_TEXT_NESTING = 200
_MAX_TERMS = 20_000
_MAX_POWER_CHAIN = 3
_MAX_POWERS = 200


def refuse_text(text: str, options: VerifierOptions) -> str | None:
    """Return why a whole response is refused unread, or None: its size, NUL or surrogates, absurd nesting."""
    if len(text) > options.max_prediction_chars:
        return f"longer than {options.max_prediction_chars:,} characters"
    if "\0" in text:
        return "holds a NUL character"
    if not text.isascii() and _has_surrogate(text):
        return "holds a lone surrogate"
    if text.count("{") + text.count("(") + text.count("[") > _TEXT_NESTING and _depth(text) > _TEXT_NESTING:
        return f"brackets nested deeper than {_TEXT_NESTING}"
    return None


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()  # ten times as fast as a pattern
    except UnicodeEncodeError:
        return True
    return False


def refuse_answer(answer: str, options: VerifierOptions) -> str | None:
    """Return why an extracted answer is refused: size, nesting, powers, factorials, code; else None."""
    if len(answer) > options.max_answer_chars:
        return f"longer than {options.max_answer_chars:,} characters"
    if answer.isascii() and (answer.isdigit() or answer.isalpha()):
        return None
    if _CONTROL.search(answer):
        return "holds control characters"
    if looks_like_code(answer):
        return "looks like program code"
    if any(c in answer for c in "{([") and _depth(answer) > options.max_nesting:
        return f"brackets nested deeper than {options.max_nesting}"
    if "!" in answer and (reason := _refuse_factorial(answer, options)):
        return reason
    if _HUGE_TEN.search(answer):
        return "a power of ten out of range"
    return _refuse_power(answer, options) if "^" in answer or "**" in answer else None


def looks_like_code(text: str) -> bool:
    """Return whether `text` holds a call or name that only a program has, such as a payload for `eval`."""
    if "(" not in text and "__" not in text and "lambda" not in text and "import" not in text:
        return False  # no pattern below matches without one of these
    return _CODE.search(text) is not None


_OPEN, _CLOSE = frozenset("{(["), frozenset("})]")


def _depth(text: str) -> int:
    """Return how deep brackets of any kind nest; closers without opener are ignored."""
    depth = deepest = 0
    for char in text:
        if char in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif char in _CLOSE and depth:
            depth -= 1
    return deepest


_HUGE_TEN = re.compile(r"\d[eE][-+]?\d{4,}")
_FACTORIAL = re.compile(r"(\d[\d,]*)\s*[})\]]*\s*!")
_GROUP_FACTORIAL = re.compile(r"[})\]]\s*!")


def _refuse_factorial(answer: str, options: VerifierOptions) -> str | None:
    if re.search(r"!\s*[})\]]*\s*!", answer):
        return "a factorial of a factorial"
    for match in _FACTORIAL.finditer(answer):
        digits = match[1].replace(",", "")
        if len(digits) > 9 or int(digits) > options.max_factorial:
            return f"the factorial of a number above {options.max_factorial:,}"
    for match in _GROUP_FACTORIAL.finditer(answer):
        start = _opening(answer, match.start())
        size = _log_value(answer[start + 1 : match.start()].replace("**", "^"))
        if size is not None and size > math.log10(options.max_factorial) + 1e-9:
            return f"the factorial of a number above {options.max_factorial:,}"
    return None


def _opening(text: str, close: int) -> int:
    """Return where the bracket that closes at `close` opens; -1 where it never did."""
    depth = 0
    for at in range(close, -1, -1):
        depth += (text[at] in _CLOSE) - (text[at] in _OPEN)
        if depth == 0:
            return at
    return -1


# --- powers -----------------------------------------------------------------------------------------


def _refuse_power(answer: str, options: VerifierOptions) -> str | None:
    """Return why powers are refused: towers, huge exponents, sums that expand into very many terms."""
    text = answer.replace("**", "^")
    carets = [i for i, char in enumerate(text) if char == "^"]
    if len(carets) > _MAX_POWERS:
        return f"more than {_MAX_POWERS} powers"
    stacked: dict[int, tuple[int, int]] = {}  # caret → how many powers are stacked there, end of its exponent
    for at in reversed(carets):
        end = _exponent_end(text, at + 1, stacked)
        above = [height for other, (height, _) in stacked.items() if other < end]
        stacked[at] = (1 + max(above, default=0), end)
        if stacked[at][0] > _MAX_POWER_CHAIN:
            return f"a tower of more than {_MAX_POWER_CHAIN} powers"
        size = _log_value(text[at + 1 : end])
        if size is None:
            continue
        if size > math.log10(options.max_exponent) + 1e-9:
            return f"an exponent above {options.max_exponent:,}"
        signs = _base_signs(text, at)
        if signs and math.comb(round(10**size) + signs, signs) > _MAX_TERMS:
            return f"a power of a sum that expands into more than {_MAX_TERMS:,} terms"
    return None


_EXPONENT_TOKEN = re.compile(r"[-+]?\s*(?:\d[\d,.]*|\\?[a-zA-Z]+|.)?", re.DOTALL)
_NEXT_CARET = re.compile(r"\s*\^")


def _exponent_end(text: str, at: int, known: dict[int, tuple[int, int]]) -> int:
    """Return where the exponent that starts at `at` ends: a group or one token, and what is chained to it.

    `known` holds the ends of the exponents further right: a ^ b ^ c is a ^ (b ^ c).
    """
    while at < len(text) and text[at] == " ":
        at += 1
    if at < len(text) and text[at] in _OPEN:
        depth, end = 0, at
        while end < len(text):
            depth += (text[end] in _OPEN) - (text[end] in _CLOSE)
            end += 1
            if depth == 0:
                break
    else:
        match = _EXPONENT_TOKEN.match(text, at)
        end = match.end() if match else at
    chained = _NEXT_CARET.match(text, end)
    if chained is not None and chained.end() - 1 in known:
        return known[chained.end() - 1][1]
    return end


def _log_value(text: str, level: int = 0) -> float | None:
    """Return log10 of the size of a constant exponent of integers, products and powers; None for others.

    Values below 1 count as 1 (0.0). A product or tower of unknown size is read pessimistically.
    """
    text = text.strip().lstrip("+-").strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    text = text.strip("{} ")
    digits = text.replace(",", "")
    if digits.isdigit() and digits.isascii():
        return math.log10(max(int(digits), 1)) if len(digits) < 300 else float(len(digits))
    if level > _MAX_POWER_CHAIN + 1:
        return math.inf
    if "^" in text:
        base, _, exponent = text.partition("^")
        low, high = _log_value(base, level + 1), _log_value(exponent, level + 1)
        if low is None or high is None:
            return None
        return low * 10**high if high < 12 else math.inf
    parts = re.split(r"\*|\\cdot|\\times", text)
    if len(parts) > 1:
        sizes = [_log_value(p, level + 1) for p in parts]
        return None if any(s is None for s in sizes) else math.fsum(s for s in sizes if s is not None)
    return None


def _base_signs(text: str, at: int) -> int:
    """Return how many plus and minus signs are in the bracket that is raised by the caret at `at`."""
    end = at - 1
    while end >= 0 and text[end] == " ":
        end -= 1
    if end < 0 or text[end] not in _CLOSE:
        return 0
    return len(re.findall(r"(?<=[^(\[{^\s])\s*[+-]", text[_opening(text, end) + 1 : end]))
