"""Which functions may judge answers: those that the config names, and no others.

A function is written `package.module:function`. The config names functions in `verifier.functions`, a table
of names for them, or one as `data.task`. Data may use the names of the table, and never name code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["FAMILY_NAMES", "Functions", "check_functions", "functions_of", "names_code"]

Functions = Mapping[str, str]
"""Task → `package.module:function`."""

FAMILY_NAMES = ("math", "number", "choice", "yes_no", "label", "bool", "list")
"""The names of the task families (`verifiers.families.FAMILIES`), which no function may take."""

_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def names_code(task: str) -> bool:
    """Return whether `task` has the form of a function's name, `package.module:function`."""
    return _FUNCTION.fullmatch(task) is not None


def functions_of(table: Functions, task: str) -> dict[str, str]:
    """All functions of a config: its `verifier.functions`, and its `data.task` where that names code."""
    return {**table, task: task} if names_code(task) else dict(table)


def check_functions(table: Functions) -> None:
    """Raise ValueError where `table` has a name that is none or is a family's, or names no function."""
    for name, function in table.items():
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"functions: {name!r} is not a valid name; use letters, digits and _, not a digit first"
            )
        if name in FAMILY_NAMES:
            raise ValueError(f"functions.{name}: is the name of a task family; choose another name")
        if not names_code(function):
            raise ValueError(f"functions.{name}: expected package.module:function, got {function!r}")
