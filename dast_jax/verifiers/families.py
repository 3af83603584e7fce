"""The task families: how the answer of each kind of problem is found, and when two answers are the same.

A query's `task` is the name of a family, optionally followed by a tolerance for its numbers
(`math~0.04`: 4 % of the reference; `number+-0.1`), or the name of a user's own verifier. Only the config
says which function that is (`functions`). To add a family, write its functions and name them in `FAMILIES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from dast_jax.errors import UserError
from dast_jax.options import nearest
from dast_jax.verifiers import choice, lists, words
from dast_jax.verifiers.equivalence import Comparison, Tolerance, compare_math, compare_number
from dast_jax.verifiers.extract import Extraction, extract_math, extract_reference
from dast_jax.verifiers.functions import FAMILY_NAMES, Functions, functions_of, names_code
from dast_jax.verifiers.normalize import clean
from dast_jax.verifiers.options import VerifierOptions

__all__ = ["FAMILIES", "Family", "Task", "check_config_task", "read_task"]

Compare = Callable[[str, str, VerifierOptions, Tolerance | None], Comparison | None]


class Family(NamedTuple):
    """How a family's answers are found and compared.

    `extract(response, options)` finds the answer; `reference(text)` is the answer in what the data gives
    as the reference; `compare(reference, answer, options, tolerance)` is None where only symbolic
    comparison can decide, which then gets `symbolic(text)` of both.
    """

    extract: Callable[[str, VerifierOptions], Extraction]
    compare: Compare
    reference: Callable[[str], str] = str.strip
    symbolic: Callable[[str], str] = clean


class Task(NamedTuple):
    """What a query's `task` says: a family and a tolerance, or (family None) a function of the config's."""

    name: str
    family: Family | None
    tolerance: Tolerance | None = None


def _math(text: str, options: VerifierOptions) -> Extraction:
    return extract_math(text)


def _compare_math(a: str, b: str, options: VerifierOptions, tolerance: Tolerance | None) -> Comparison | None:
    return compare_math(a, b, options.percent, tolerance)


def _compare_number(a: str, b: str, options: VerifierOptions, tolerance: Tolerance | None) -> Comparison:
    return compare_number(a, b, options.percent, tolerance)


def _plain(compare: Callable[[str, str, VerifierOptions], Comparison]) -> Compare:
    """Return the comparison of a family without numbers, which ignores the tolerance."""
    return lambda a, b, options, _: compare(a, b, options)


FAMILIES: Mapping[str, Family] = {
    "math": Family(_math, _compare_math, extract_reference),
    "number": Family(_math, _compare_number, extract_reference),
    "choice": Family(choice.extract_choice, _plain(choice.compare_choice)),
    "yes_no": Family(words.extract_yes_no, _plain(words.compare_yes_no)),
    "label": Family(words.extract_label, _plain(words.compare_label)),
    "bool": Family(words.extract_bool, _plain(words.compare_bool)),
    "list": Family(lists.extract_list, lists.compare_list, extract_reference, lists.as_tuple),
}
assert tuple(FAMILIES) == FAMILY_NAMES

_TASK = re.compile(
    r"(?P<family>\w+?)(?:(?P<kind>~|±|\+-)(?P<amount>\d+(?:\.\d+)?(?:[eE]-?\d{1,2})?))?", re.ASCII
)
_WITH_NUMBERS = ("math", "number", "list")


def read_task(task: str, functions: Functions = MappingProxyType({})) -> Task:
    """Return what `task` names: one of `functions`, the config's own, else a family with its tolerance.

    Raises `UserError` for what is neither; `package.module:function` is never imported.
    """
    if task in FAMILIES:  # whose names no function may take
        return _read_family(task)
    if task in functions:
        return Task(task, None)
    if ":" in task:  # no family and no name has one
        raise UserError(
            f"task {task!r} names code, and data may not; set data.task or verifier.functions in the config"
        )
    try:
        return _read_family(task)
    except _UnknownFamilyError:
        known = [*FAMILIES, *functions]
        raise UserError(
            f"task {task!r}: unknown task family{nearest(task, known)}; name a custom verifier in "
            "verifier.functions"
        ) from None


class _UnknownFamilyError(Exception):
    """No family has that name."""


@lru_cache(maxsize=4_096)
def _read_family(task: str) -> Task:
    match = _TASK.fullmatch(task)
    family = FAMILIES.get(match["family"]) if match else None
    if match is None or family is None:
        raise _UnknownFamilyError
    if match["kind"] is None:
        return Task(match["family"], family)
    if match["family"] not in _WITH_NUMBERS:
        raise UserError(
            f"task {task!r}: {match['family']} has no numbers; a tolerance is for math, number, list"
        )
    return Task(match["family"], family, Tolerance(Fraction(match["amount"]), match["kind"] == "~"))


def check_config_task(task: str, table: Functions) -> None:
    """Raise `UserError` unless `data.task` is empty, a family, of `verifier.functions`, or a function."""
    if ":" in task and not names_code(task):
        raise UserError(f"data.task: expected a task family or package.module:function, got {task!r}")
    try:
        if task:
            read_task(task, functions_of(table, task))
    except UserError as error:
        raise UserError(f"data.task: {error}") from error
