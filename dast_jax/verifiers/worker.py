"""A symbolic worker: a process of its own that compares two answers with math-verify, one pair a line.

Run as `python -m dast_jax.verifiers.worker CONFIG`, with CONFIG a JSON object of limits. Reads JSON lines
`[id, reference, answer]` on stdin and writes `[id, equal, reason]` on stdout; ends at the end of stdin.
It never sees the parent's main module, imports no jax, and may neither evaluate text nor write files:
sympy's one door to `eval` is closed before the first pair is read.

The kernel ends it where a comparison takes more CPU time than allowed (SIGPROF, whose default action is to
end the process, works inside long C calls, where a Python handler would wait), or more memory (RLIMIT_AS).
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

__all__ = ["main"]

_MIB = 1 << 20
_SAFE_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_CONSTANTS = frozenset(["pi", "E", "I", "oo", "zoo", "nan"])


def main(argv: list[str]) -> int:
    """Serve until stdin ends. `argv` holds the JSON config: cpu_seconds, memory_mb, float_rounding."""
    config = json.loads(argv[0])
    replies = os.fdopen(os.dup(1), "w", encoding="ascii", newline="\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is no reply
    try:
        equal = _load(config["float_rounding"])
    except ImportError as error:
        _write(replies, ["error", f"{type(error).__name__}: {error}"])
        return 1
    _limit_resources(config["memory_mb"])
    _write(replies, ["ready", os.getpid()])
    _serve(sys.stdin, replies, equal, config["cpu_seconds"])
    return 0


def _serve(
    requests: TextIO, replies: TextIO, equal: Callable[[str, str], tuple[bool, str]], cpu_seconds: float
) -> None:
    for line in requests:
        number, reference, answer = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            verdict: bool | None
            verdict, reason = equal(reference, answer)
        except MemoryError:
            verdict, reason = None, "memory limit"
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(replies, [number, verdict, reason])
        if verdict is None:
            return  # a fresh process is better than one whose memory is in pieces


def _write(replies: TextIO, message: list[Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def _limit_resources(memory_mb: int) -> None:
    for name, soft in (("AS", memory_mb * _MIB), ("CORE", 0), ("FSIZE", 0)):
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        limit = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(kind, (limit, limit))


def _load(float_rounding: int) -> Callable[[str, str], tuple[bool, str]]:
    """Import math-verify, close sympy's door to `eval`, and return the comparison."""
    from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
    from math_verify import verify
    from math_verify.parser import parse_latex_cached

    logging.disable(logging.CRITICAL)
    _close_eval()
    # Not its unit removal: it takes the variables c, d, g, h, l, m, o, s and t for units (`3t` for 3).
    spelling = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )

    def parse(text: str) -> Any:
        return parse_latex_cached(normalize_latex(text, config=spelling))

    def equal(reference: str, answer: str) -> tuple[bool, str]:
        parsed = []
        for name, text in (("reference", reference), ("answer", answer)):
            try:
                parsed.append(parse(text))
            except MemoryError:
                raise
            except Exception:  # a grammar of this size fails in too many ways to name
                return False, f"the {name} cannot be read as mathematics"
        try:
            same = verify(
                parsed[:1],
                parsed[1:],
                float_rounding=float_rounding,
                timeout_seconds=None,
                raise_on_error=True,
            )
        except MemoryError:
            raise
        except Exception as error:
            return False, f"symbolic comparison failed ({type(error).__name__})"
        return bool(same), "symbolic comparison"

    equal("x+1", "1+x")  # sympy imports parts of itself at first use
    return equal


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
