r"""Whether the steps of a response are right, where they can be checked exactly.

A correct answer may rest on a wrong step: a false positive that no comparison of answers can see.
`steps_checker` returns a checker for questions whose steps can be checked, and None for all others. So far
these are arithmetic expressions, as `((7+12)*3)-5=?`: what a response writes is split at everything that is
not part of an expression, and each part must be what some subexpression of the question becomes when
operations in it are carried out, with operands in their order. `(19*3)-5`, `57-5`, `57` and `19` are right
steps; `(20*3)-8` is not, though its value is that of the question. A number of the question on its own is no
step.

[ours] What `verifier.steps` says is done with a correct answer that rests on a wrong step, or on one that
cannot be read: `count` counts it, `refuse` also takes it as incorrect, `ignore` does neither.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from dast_jax.records import Verdict, VerdictKind

__all__ = ["STEP_MODES", "StepCheck", "StepsChecker", "refuse_wrong_steps", "steps_checker", "value_of"]

STEP_MODES = ("count", "refuse", "ignore")
"""What is done with correct answers that rest on wrong steps, as `verifier.steps` takes it."""


@dataclass(frozen=True, slots=True)
class StepCheck:
    """The steps found in a response, how many of them are wrong, and how many could not be read."""

    steps: int
    wrong: int
    unreadable: int


StepsChecker: TypeAlias = Callable[[str], StepCheck]
"""The text of a response in, its steps out."""

_QUESTION = re.compile(r"[\d\s.+\-*/()]*\d[\d\s.+\-*/()]*=\s*\?")
_RUN = re.compile(r"[\d\s.+\-*/()]+")
_BETWEEN = re.compile(r"\n|\.(?!\d)|(?<=[\d)])[ \t]+(?=[\d(])")
"""Ends an expression within a run of characters that could be part of one."""

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|[+\-*/()])")
_LONGEST = 300
"""Characters of an expression that are read: deeper ones than these could exhaust the stack."""

_MARK = "####"

_Node: TypeAlias = "Fraction | tuple[str, _Node, _Node]"


@functools.lru_cache(maxsize=4096)  # a query has many responses
def steps_checker(question: str) -> StepsChecker | None:
    """Return what checks the steps of responses to `question`, or None where they cannot be checked."""
    asked = _asked(question)
    if asked is None:
        return None
    parts, numbers = _operations(asked), _numbers(asked)

    def check(text: str) -> StepCheck:
        """Return the steps before the marked answer."""
        steps = wrong = unreadable = 0
        for written in _written(text.partition(_MARK)[0]):
            node = _parse(written)
            right = node is not None and any(_becomes(part, node) for part in parts)
            if right or node not in numbers:
                steps += 1
                wrong += node is not None and not right
                unreadable += node is None
        return StepCheck(steps=steps, wrong=wrong, unreadable=unreadable)

    return check


def refuse_wrong_steps(verdict: Verdict, question: str, text: str) -> Verdict:
    """Return `verdict`, or incorrect in place of correct where a step of `text` is wrong or unreadable.

    Where the steps of responses to `question` cannot be checked the verdict stays.
    """
    checker = steps_checker(question) if verdict.correct else None
    if checker is None:
        return verdict
    found = checker(text)
    if not found.wrong + found.unreadable:
        return verdict
    reason = f"{found.wrong} of {found.steps} steps wrong, {found.unreadable} unreadable"
    return Verdict(VerdictKind.INCORRECT, verdict.extracted, f"{verdict.reason}; refused: {reason}")


def value_of(question: str) -> Fraction | None:
    """Return the exact answer to a question whose steps can be checked; None for others, and for a/0."""
    asked = _asked(question)
    return None if asked is None else _value(asked)


def _asked(question: str) -> _Node | None:
    """Return the operation that `question` asks for, or None where it asks for something else."""
    question = question.strip()
    if len(question) > _LONGEST or not _QUESTION.fullmatch(question):
        return None
    asked = _parse(question.rstrip("?").rstrip().removesuffix("="))
    return None if isinstance(asked, Fraction) else asked


def _written(text: str) -> list[str]:
    """Return what looks like an expression in `text`: runs of digits, operators and parentheses."""
    parts = [
        part.rstrip(" \t+-*/").lstrip(" \t+*/") for run in _RUN.findall(text) for part in _BETWEEN.split(run)
    ]
    return [part for part in parts if any(c.isdigit() for c in part)]


def _becomes(node: _Node, other: _Node) -> bool:
    """Return whether carrying out operations in `node` can give `other`."""
    if isinstance(other, Fraction):
        return _value(node) == other
    return (
        not isinstance(node, Fraction)
        and node[0] == other[0]
        and _becomes(node[1], other[1])
        and _becomes(node[2], other[2])
    )


def _operations(node: _Node) -> list[_Node]:
    """Return the subexpressions of `node` that are operations, itself included."""
    if isinstance(node, Fraction):
        return []
    return [node, *_operations(node[1]), *_operations(node[2])]


def _numbers(node: _Node) -> set[Fraction]:
    """Return the numbers that `node` is made of."""
    return {node} if isinstance(node, Fraction) else _numbers(node[1]) | _numbers(node[2])


def _value(node: _Node) -> Fraction | None:
    """Return the exact value; None for a division by zero."""
    if isinstance(node, Fraction):
        return node
    left, right = _value(node[1]), _value(node[2])
    if left is None or right is None:
        return None
    if node[0] == "/":
        return left / right if right else None
    return left + right if node[0] == "+" else left - right if node[0] == "-" else left * right


# --- reading an expression ----------------------------------------------------------------------------


def _parse(text: str) -> _Node | None:
    """Return the expression that `text` is, with the usual precedence; None where it is none."""
    if len(text) > _LONGEST:
        return None
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != "".join(text.split()):
        return None
    node, rest = _sum(tokens)
    return None if rest else node


def _sum(tokens: list[str]) -> tuple[_Node | None, list[str]]:
    return _chain(tokens, "+-", lambda rest: _chain(rest, "*/", _operand))


def _chain(
    tokens: list[str], operators: str, operand: Callable[[list[str]], tuple[_Node | None, list[str]]]
) -> tuple[_Node | None, list[str]]:
    """Read operands joined by `operators`, from the left; None at the first that is missing."""
    node, tokens = operand(tokens)
    while node is not None and tokens and tokens[0] in operators:
        right, rest = operand(tokens[1:])
        if right is None:
            return None, tokens
        node, tokens = (tokens[0], node, right), rest
    return node, tokens


def _operand(tokens: list[str]) -> tuple[_Node | None, list[str]]:
    if not tokens:
        return None, tokens
    first, *rest = tokens
    if first == "(":
        node, rest = _sum(rest)
        return (node, rest[1:]) if node is not None and rest[:1] == [")"] else (None, tokens)
    if first == "-":
        node, rest = _operand(rest)
        return (-node, rest) if isinstance(node, Fraction) else (None, tokens)
    return (Fraction(first), rest) if first[0].isdigit() else (None, tokens)
