"""Reference answers as text: one value, or several, whose text depends on the task family."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dast_jax.data.fields import boxed_answers, nested, number, text
from dast_jax.errors import UserError
from dast_jax.verifiers.functions import FAMILY_NAMES

__all__ = ["boxed_reference", "reference"]

_INFINITE = re.compile(r"([+-]?)(?:inf|infinity)", re.IGNORECASE)
_NUMBERS = re.compile(r"\[\s*-?[\d.]+(?:[eE][+-]?\d+)?(?:\s+-?[\d.]+(?:[eE][+-]?\d+)?)+\s*\]")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_FAMILY = re.compile(r"\w+?(?=~|±|\+-|$)")


def reference(value: Any, task: str) -> str | None:
    """Return the cell of an answer as text for `task`; None where it is empty, or one of its values is.

    Of an array of several answers, task `list` has the list (`[-2, 2]`, in order) and the families of
    mathematical answers the set (`\\{-2, 2\\}`): in brackets it would be an interval. An array of one is that
    answer. Raises `UserError` for an array where the task takes one answer, or whose items hold arrays or
    commas.
    """
    items = _items(value)
    family = _family(task)
    if items is None:
        return _single(value, family)
    answers = [_item(item, family) for item in items]
    if not answers or None in answers:
        return None
    found = [answer for answer in answers if answer is not None]
    if family == "list" or family not in FAMILY_NAMES:
        return f"[{', '.join(found)}]"
    found = list(dict.fromkeys(found))
    if len(found) == 1:
        return found[0]
    if family != "math":
        raise UserError(
            f"has {len(found)} answers ({', '.join(found[:3])}), and task {family} takes one; "
            "give one answer, or set its task to math (a set) or list"
        )
    return rf"\{{{', '.join(found)}\}}"


_ASKS_SEVERAL = re.compile(r"\ball\b|separated by", re.IGNORECASE)
_ANY_ACCEPTED = re.compile(r"\baccept(?:ed|able)\b", re.IGNORECASE)


def boxed_reference(question: str | None, solution: str) -> str | None:
    """Return what a reference solution boxes: its last box, or all where the question asks for several.

    [ours] MATH's solutions have several boxes where they derive an answer twice, show another form of it, or
    box each of several answers; only the last are joined, with commas as MATH itself lists answers.
    """
    boxes = boxed_answers(solution)
    distinct = {re.sub(r"\s|\\[,!;]|(?<=\\)[dt](?=frac)", "", box): box for box in boxes}
    several = len(distinct) > 1 and _ASKS_SEVERAL.search(question or "")
    if not several or _ANY_ACCEPTED.search(solution) or re.search(r"\}\s*=\s*\\boxed", solution):
        return boxes[-1] if boxes else None
    return ", ".join(distinct.values())


def _family(task: str) -> str:
    """Return the family that `task` names, with or without a tolerance; `math` for none."""
    match = _FAMILY.match(task)
    return match[0] if match and ":" not in task else task or "math"


def _items(value: Any) -> Sequence[Any] | None:
    """Return the values of an array, or of text that can only be one; None for anything else.

    Text such as `[1, 2]` may be an interval, and is left as it is.
    """
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and _NUMBERS.fullmatch(value.strip()):
        return value.strip()[1:-1].split()
    if isinstance(value, str) and re.match(r"\[\s*[\"']", value.strip()):
        found = nested(value)
        return found if isinstance(found, list) else None
    return None


def _single(value: Any, family: str) -> str | None:
    found = number(value) if isinstance(value, float) or family == "choice" else text(value)
    if found and family in ("math", "number") and (infinite := _INFINITE.fullmatch(found)):
        found = infinite[1].replace("+", "") + r"\infty"
    if found and family == "number" and found.endswith(r"\infty"):
        raise UserError("has an infinite answer, and task number takes plain numbers; set its task to math")
    return found


def _item(value: Any, family: str) -> str | None:
    """Return one of several answers as text."""
    if isinstance(value, list | tuple | dict):
        raise UserError("has an answer of arrays in an array; write it as text, as its task expects it")
    found = _single(value, family)
    if found is None:
        return None
    found = re.sub(r"^\$([^$]+)\$$", r"\1", found)
    if _THOUSANDS.fullmatch(found):
        found = found.replace(",", "")
    if _has_comma(found):
        raise UserError(f"has several answers, and a comma inside one ({found[:40]}); write them as one text")
    return found


def _has_comma(answer: str) -> bool:
    """Return whether there is a comma outside of all brackets."""
    depth = 0
    for char in answer:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth <= 0:
            return True
    return False
