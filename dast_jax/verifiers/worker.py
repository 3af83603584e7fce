"""A worker: a separate process that judges pairs of texts, one per line.

Run as `python -m dast_jax.verifiers.worker CONFIG`, with CONFIG a JSON object of limits. Reads JSON lines
`[id, reference, answer, tolerance]` on stdin and writes `[id, outcome, reason, extracted]` on stdout; ends at
the end of stdin. It never sees the parent's main module and imports no jax.

Answers are compared symbolically with math-verify: `outcome` is then true or false, and the process may
neither evaluate text nor write files, as sympy's one door to `eval` is closed before the first pair is
read. With a `function` in CONFIG, what that task is in CONFIG's `functions`, the table of the user's config,
is called instead, and nothing that the table does not hold: `outcome` is then a verdict, "raised", or
"unusable" for what is none. It is null where memory ran out.

It ends where a comparison takes more CPU time or memory than allowed (`runtime.limits`).
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

from dast_jax.runtime.limits import ProcessLimits

__all__ = ["main"]

_SAFE_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_CONSTANTS = frozenset(["pi", "E", "I", "oo", "zoo", "nan"])


def main(argv: list[str]) -> int:
    """Serve until stdin ends. `argv` holds the JSON config (`pool._Worker` writes it)."""
    config = json.loads(argv[0])
    replies = os.fdopen(os.dup(1), "w", encoding="ascii", newline="\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is no reply
    judge: Judge
    try:
        if config["function"]:
            judge = _load_function(config["function"], config["functions"], config["path"])
        elif config["backend"] == "math_verify":
            judge = _load_math_verify(config["float_rounding"])
        else:
            judge = _load(config["float_rounding"])
    except (ImportError, _UnusableError) as error:
        text = str(error) if isinstance(error, _UnusableError) else f"{type(error).__name__}: {error}"
        _write(replies, ["error", text])
        return 1
    limits = ProcessLimits(
        cpu_seconds=config["cpu_seconds"], memory_mb=config["memory_mb"], writes=bool(config["function"])
    )
    _write(replies, ["ready", os.getpid()])
    _serve(sys.stdin, replies, judge, limits)
    return 0


class Outcome(NamedTuple):
    """What came of a pair: True, False, None (memory ran out), or a word of the function's protocol."""

    outcome: bool | str | None
    reason: str
    extracted: str | None = None


Judge = Callable[[str, str, Any], Outcome]


def _serve(requests: TextIO, replies: TextIO, judge: Judge, limits: ProcessLimits) -> None:
    for line in requests:
        number, reference, answer, tolerance = json.loads(line)
        try:
            with limits.task():
                outcome = judge(reference, answer, tolerance)
        except MemoryError:
            outcome = Outcome(None, "memory limit")
        _write(replies, [number, *outcome])
        if outcome.outcome is None:
            return  # a fresh process is better than one whose memory is in pieces


def _write(replies: TextIO, message: list[Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


class _UnusableError(Exception):
    """The user's function is not available; the message says why in part of a sentence."""


def _load_function(task: str, functions: dict[str, str], path: list[str]) -> Judge:
    """Import what `task` is in `functions` from the parent's import path, and return how it judges."""
    from dast_jax.records import Verdict

    if task not in functions:  # checked before any worker starts, and here again, where the import is
        raise _UnusableError("the config names no such function")
    module_name, _, function_name = functions[task].partition(":")
    sys.path[:] = [entry or os.getcwd() for entry in path]
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything at import
        raise _UnusableError(f"the module {module_name} cannot be imported ({_one_line(error)})") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise _UnusableError(f"the module {module_name} has no function {function_name}")

    def judge(reference: str, prediction: str, tolerance: Any) -> Outcome:
        try:
            verdict = function(reference, prediction)
        except MemoryError:
            raise
        except Exception as error:
            return Outcome("raised", f"the function raised {_one_line(error)}")
        if isinstance(verdict, Verdict):
            return Outcome(str(verdict.kind), verdict.reason or "own verifier", verdict.extracted)
        if isinstance(verdict, bool) or type(verdict).__name__ == "bool_":  # numpy's own, before 2.0
            return Outcome("correct" if verdict else "incorrect", "own verifier")
        kind = type(verdict).__name__
        return Outcome("unusable", f"the function returned {kind}, and must return a bool or a Verdict")

    return judge


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def _load(float_rounding: int) -> Judge:
    """Import math-verify, close sympy's door to `eval`, and return the comparison."""
    from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
    from math_verify import verify
    from math_verify.parser import parse_latex_cached

    from dast_jax.verifiers.exact import certainly_different, equal_constants, imaginary_unit

    logging.disable(logging.CRITICAL)
    _close_eval()
    # Not its unit removal: it takes the variables c, d, g, h, l, m, o, s and t for units (`3t` for 3).
    spelling = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )

    def parse(text: str) -> Any:
        return parse_latex_cached(normalize_latex(_latex(text), config=spelling))

    def equal(reference: str, answer: str, tolerance: Any = None) -> Outcome:
        parsed = []
        for name, text in (("reference", reference), ("answer", answer)):
            try:
                parsed.append(parse(text))
            except MemoryError:
                raise
            except Exception:  # a grammar of this size fails in too many ways to name
                return Outcome(False, f"the {name} cannot be read as mathematics")
        try:
            parsed = imaginary_unit(parsed)
            same = equal_constants(parsed[0], parsed[1], float_rounding)
            if same is None:
                same = verify(
                    parsed[:1],
                    parsed[1:],
                    float_rounding=float_rounding,
                    timeout_seconds=None,
                    raise_on_error=True,
                ) and not certainly_different(parsed[0], parsed[1])
        except MemoryError:
            raise
        except Exception as error:
            return Outcome(False, f"symbolic comparison failed ({type(error).__name__})")
        if not same and tolerance is not None and _near(*parsed, *tolerance):
            return Outcome(True, "values within the tolerance")
        return Outcome(bool(same), "symbolic comparison")

    equal("x+1", "1+x")  # sympy imports parts of itself at first use
    return equal


def _load_math_verify(float_rounding: int) -> Judge:
    """Import math-verify, and return its own verdict on a reference and a whole response."""
    import math_verify.parser
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    _close_eval()
    math_verify.parser.parse_expr = arithmetic

    def equal(reference: str, response: str, tolerance: Any = None) -> Outcome:
        gold = parse(reference, parsing_timeout=None)
        if not any(hasattr(value, "args") for value in gold):  # as its authors advise for bare LaTeX
            gold = parse(f"${reference}$", parsing_timeout=None) or gold
        found = parse(response, parsing_timeout=None)
        if not found:
            return Outcome("no_answer", "math-verify finds no answer")
        try:
            same = verify(
                gold, found, float_rounding=float_rounding, timeout_seconds=None, raise_on_error=True
            )
        except MemoryError:
            raise
        except Exception as error:
            return Outcome("incorrect", f"math-verify failed ({type(error).__name__})", str(found[-1]))
        return Outcome("correct" if same else "incorrect", "math-verify", str(found[-1])[:200])

    equal("x+1", "$1+x$")
    return equal


def arithmetic(text: Any, *_: Any, **__: Any) -> Any:
    """Return a sum, product or power of plain numbers and one-letter names as sympy has it; nothing is run.

    Raises ValueError for any other text.
    """
    import ast

    import sympy

    operators = {ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__", ast.Div: "__truediv__"}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return sympy.Integer(node.value) if isinstance(node.value, int) else sympy.Float(str(node.value))
        if isinstance(node, ast.Name):
            return getattr(sympy, node.id) if node.id in _CONSTANTS else sympy.Symbol(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return -value(node.operand) if isinstance(node.op, ast.USub) else value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in operators:
            return getattr(value(node.left), operators[type(node.op)])(value(node.right))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            base, power = value(node.left), value(node.right)
            if base.is_Number and power.is_Number and abs(power) <= _LARGEST_POWER:
                return base**power
        raise ValueError("only arithmetic of plain numbers is read from text")

    try:
        return value(ast.parse(str(text).strip(), mode="eval").body)
    except (SyntaxError, RecursionError) as error:
        raise ValueError("only arithmetic of plain numbers is read from text") from error


_LARGEST_POWER = 1_000

_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(exp|ln|log|sin|cos|tan)(?=\s*\()")
_POWER_THEN_INDEX = re.compile(r"([A-Za-z])\^(\{[^{}]*\}|\w)_(\{[^{}]*\}|\w)")
_DEGREES = re.compile(
    r"(?P<function>\\(?:sin|cos|tan|cot|sec|csc)(?:\^(?:\d|\{-?\d+\}))?)\s*(?P<open>\(|\{)?\s*"
    r"(?P<degrees>-?\d{1,6}(?:\.\d{1,6})?)\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)\s*(?(open)[)}])",
    re.ASCII,
)
_SIGNS = str.maketrans(
    {"×": "\\times ", "·": "\\cdot ", "÷": "\\div ", "≤": "\\leq ", "≥": "\\geq ", "≠": "\\neq "}
)


def _latex(text: str) -> str:
    r"""Return `text` in LaTeX where it is nearly that: `exp(9)`, `v^2_0`; `\cos 36^\circ` in radians."""
    text = _FUNCTION.sub(r"\\\1", text).replace("\\log_e", "\\ln").replace("\\log_{e}", "\\ln")
    if "circ" in text:
        text = _DEGREES.sub(r"\g<function>(\\frac{\g<degrees>\\pi}{180})", text)
    return _POWER_THEN_INDEX.sub(r"\1_\3^\2", text).translate(_SIGNS)


def _near(reference: Any, answer: Any, amount: float, relative: bool) -> bool:
    """Return whether two parsed answers, numbers or tuples of them, are within the tolerance."""
    values = []
    for parsed in (reference, answer):
        value = getattr(parsed, "rhs", parsed)
        parts = value.args if type(value).__name__ in ("Tuple", "FiniteSet") else (value,)
        try:
            values.append([float(part.evalf()) for part in parts])
        except (AttributeError, TypeError, ValueError, ArithmeticError):
            return False
    if len(values[0]) != len(values[1]):
        return False
    return all(abs(b - a) <= amount * (abs(a) if relative else 1) for a, b in zip(*values, strict=True))


def _close_eval() -> None:
    """Let sympy's text parser read numbers and names and nothing else: behind it stands `eval`."""
    import sympy
    import sympy.physics.units
    from sympy.parsing import sympy_parser

    def numbers_and_names_only(text: Any, *_: Any, **__: Any) -> Any:
        text = str(text).strip()
        if _NAME.fullmatch(text):
            return getattr(sympy, text) if text in _CONSTANTS else sympy.Symbol(text)
        if _SAFE_NUMBER.fullmatch(text) is None:
            raise ValueError("only plain numbers and names are read from text")
        return sympy.Integer(int(text)) if text.lstrip("+-").isdigit() else sympy.Float(text)

    def closed(*_: Any, **__: Any) -> Any:
        raise ValueError("evaluating text is switched off")

    sympy_parser.parse_expr = numbers_and_names_only
    sympy_parser.eval_expr = closed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
