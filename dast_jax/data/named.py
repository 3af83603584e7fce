"""Rows whose columns `data.columns` names: renamed, class numbers as names, choices added to the question.

Choices are in one column, or in one for each (`A`, `B`, …; `option_1`, …; `opa`, …).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dast_jax.data.fields import as_list, nested, number, pairs, text, with_choices
from dast_jax.data.table import Table, rows_have
from dast_jax.errors import UserError

__all__ = ["by_columns", "choice_columns", "unread_choices", "with_class_names", "with_one_column"]

_LETTERS = "ABCDEFGHIJ"
"""What choices without labels are called; the verifier of choices knows no further letters."""


def by_columns(source: str, table: Table, columns: Mapping[str, str], task: str) -> Table:
    """Return `table` with the plain schema's columns, as `columns` (plain name → theirs) says.

    `task` is `data.task`. Raises `UserError` where choices are named and a row's answer is none of them.
    """
    taken = set(columns.values())
    table = with_class_names(table, taken)
    renamed = [
        (
            n,
            {name: value for name, value in row.items() if name not in taken and name not in columns}
            | {name: row.get(theirs) for name, theirs in columns.items()},
        )
        for n, row in table.rows
    ]
    if "choices" in columns:
        renamed = _with_choices(source, renamed, "" if task else "choice")
    return Table(table.name, renamed)


_CHOICE_COLUMN = re.compile(
    r"(?P<stem>(?i:option|choice|answer|opt|op)?[\s_.-]*)\(?(?P<label>[A-Ja-j]|\d)\)?"
)


def choice_columns(table: Table, named: set[str]) -> dict[str, str]:
    """Return the columns that hold one choice each, as letter → column; empty where there are none.

    They are called by letters or numbers that follow one another, from A, a, 0 or 1, alone (only capital
    letters) or after a word such as `option`, and are not among `named`.
    """
    groups: dict[str, dict[str, str]] = {}
    for column in table.columns:
        match = None if column in named else _CHOICE_COLUMN.fullmatch(column)
        if match and (match["stem"].strip() or match["label"].isupper()):
            kind = "digits" if match["label"].isdigit() else "letters"
            groups.setdefault(match["stem"] + kind, {})[match["label"]] = column
    for found in groups.values():
        labels = sorted(found)
        follow = [chr(ord(labels[0]) + i) for i in range(len(labels))]
        if len(labels) > 1 and labels[0] in "Aa01" and labels == follow:
            return {letter: found[label] for letter, label in zip(_LETTERS, labels, strict=False)}
    return {}


def with_one_column(table: Table, columns: Mapping[str, str], into: str) -> Table:
    """Return `table` with the choices in `columns` (letter → column) in one column `into`, by letter."""
    inside = set(columns.values())
    rows = [
        (
            n,
            {name: value for name, value in row.items() if name not in inside}
            | {into: {letter: row.get(column) for letter, column in columns.items()}},
        )
        for n, row in table.rows
    ]
    return table._replace(rows=rows)


def with_class_names(table: Table, columns: set[str]) -> Table:
    """Return `table` with class names for the numbers in `columns`; None for a number of no class."""
    classes = {column: names for column, names in table.classes.items() if column in columns}
    if not classes:
        return table
    rows = [
        (n, {**row, **{column: _class_name(row.get(column), names) for column, names in classes.items()}})
        for n, row in table.rows
    ]
    return table._replace(rows=rows)


def unread_choices(table: Table, named: set[str]) -> str | None:
    """Return a column of choices that is not among `named` and not empty, or None."""
    for column in table.columns:
        if column.casefold() in ("choices", "options") and column not in named:
            cells = (nested(row.get(column)) for _, row in table.rows)
            if any(cell if isinstance(cell, Mapping) else as_list(cell) for cell in cells):
                return column
    return None


# --- choices ------------------------------------------------------------------------------------------


class _Choices(NamedTuple):
    """A row's choices: a label and a text each."""

    labels: list[str]
    texts: list[str]


def _with_choices(
    source: str, rows: Sequence[tuple[int, dict[str, Any]]], task: str
) -> list[tuple[int, dict[str, Any]]]:
    """Return numbered rows with the choices added to the question, and the correct label as the answer.

    Whether answers are labels, texts or indices is decided for the source as a whole: in single rows a
    choice may read like the label or the index of another. Rows without a task get `task`.
    """
    given = [_choices(row.get("choices")) for _, row in rows]
    answers = [row.get("answer") for _, row in rows]
    readings = [
        [read(answer, choices) for answer, choices in zip(answers, given, strict=True)]
        for read in _readings(answers)
    ]
    found = min(readings, key=lambda reading: reading.count(None))
    lost = [n for (n, _), place in zip(rows, found, strict=True) if place is None]
    if lost:
        raise UserError(
            f"{source}: {rows_have(lost)} no choices, or an answer that is none of them; choices are 2 to "
            f"{len(_LETTERS)} texts or pairs of label and text, the answer is a label or letter, an index "
            "from 0, or the text itself"
        )
    return [
        (
            n,
            {name: value for name, value in row.items() if name != "choices"}
            | {
                "question": with_choices(
                    text(row.get("question")), zip(choices.labels, choices.texts, strict=True)
                ),
                "answer": choices.labels[place],
                "task": text(row.get("task")) or task,
            },
        )
        for (n, row), choices, place in zip(rows, given, found, strict=True)
        if place is not None
    ]


def _choices(given: Any) -> _Choices:
    given = nested(given)
    if isinstance(given, Mapping):
        by_name = "text" in given and "label" in given
        entries = (
            pairs(as_list(given["label"]), as_list(given["text"]))
            if by_name
            else [(label, content) for label, content in given.items() if text(content) is not None]
        )
    else:
        entries = [_entry(choice) for choice in as_list(given)]
    own = bool(entries) and all(text(label) is not None for label, _ in entries)
    labels = [number(label) or "" for label, _ in entries] if own else list(_LETTERS[: len(entries)])
    texts = [number(content) or "" for _, content in entries]
    usable = 2 <= len(texts) == len(labels) == len(set(labels)) and any(texts)
    return _Choices(labels, texts) if usable else _Choices([], [])


def _entry(choice: Any) -> tuple[Any, Any]:
    """Return label, if any, and text of a choice in a list: a text, a pair, or an object with both."""
    if isinstance(choice, Mapping):
        return choice.get("label"), choice.get("text")
    if isinstance(choice, list | tuple):
        return (choice[0], choice[1]) if len(choice) == 2 else (None, None)
    return None, choice


def _readings(answers: Sequence[Any]) -> list[Any]:
    """Return the ways to read answers, the most probable first."""
    if all(isinstance(answer, int | float) for answer in answers if answer is not None):
        return [_by_index, _by_label, _by_text]
    return [_by_label, _by_text, _by_index]


def _by_label(answer: Any, choices: _Choices) -> int | None:
    label = (number(answer) or "").strip("().: ").casefold()
    return _place([known.casefold() for known in choices.labels], label)


def _by_text(answer: Any, choices: _Choices) -> int | None:
    return _place(choices.texts, number(answer))


def _by_index(answer: Any, choices: _Choices) -> int | None:
    digits = number(answer) or ""
    if not digits.isdecimal() or any(label.isdecimal() for label in choices.labels):
        return None  # labels that are numbers leave nothing to count
    return int(digits) if int(digits) < len(choices.labels) else None


def _place(known: Sequence[str], wanted: str | None) -> int | None:
    """Return the index of the one text in `known` that is `wanted`; None where there is none, or several."""
    return known.index(wanted) if wanted is not None and known.count(wanted) == 1 else None


# --- classes ------------------------------------------------------------------------------------------


def _class_name(value: Any, names: Sequence[str]) -> Any:
    """Return the name of class number `value`; anything else unchanged."""
    digits = number(value)
    if digits is None or isinstance(value, bool | str):
        return value
    return names[int(digits)] if digits.isdecimal() and int(digits) < len(names) else None
