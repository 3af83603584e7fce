"""Declare what can be set: frozen dataclasses whose fields carry help, choices and limits.

@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    temperature: float = opt(1.0, "softmax temperature; 0 is greedy", min=0)
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dast_jax.options.text import join_key, listed

__all__ = [
    "REQUIRED",
    "OptionInfo",
    "default_of",
    "describe",
    "field_help",
    "has_own_default",
    "hints_of",
    "opt",
    "to_dict",
    "type_name",
]


class _Required:
    """The default of an option that must be given."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


def opt(
    default: Any = REQUIRED,
    help: str = "",
    *,
    choices: Sequence[Any] | None = None,
    changes_result: bool = True,
    min: float | None = None,
    max: float | None = None,
) -> Any:
    """Return a dataclass field with what commands and checks need to know about it.

    `default` may be a value, or a dataclass type (its own defaults are then used); lists and dicts are
    copied for every instance. `choices`, `min` and `max` apply to each element of a tuple and to each
    value of a dict, except that the `choices` of a dict are the keys it may have. `changes_result` is
    False for what may change when a run is resumed (worker counts, logging, slots).
    """
    metadata = {
        "help": help,
        "choices": tuple(choices) if choices is not None else None,
        "changes_result": changes_result,
        "min": min,
        "max": max,
    }
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, type) and dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict | set):
        kind: Any = type(default)
        return dataclasses.field(default_factory=lambda: kind(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptionInfo:
    """One settable key: its dotted name, type in words, default (`REQUIRED` where there is none), help."""

    key: str
    type: str
    default: Any
    help: str
    choices: tuple[Any, ...] | None
    changes_result: bool


def describe(cls: type, *, where: str = "") -> list[OptionInfo]:
    """Return every option of `cls`, nested dataclasses flattened to dotted keys, in declaration order."""
    hints, found = hints_of(cls), []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key, hint = join_key(where, field.name), hints[field.name]
        if dataclasses.is_dataclass(hint):
            found += describe(typing.cast(type, hint), where=key)
            continue
        choices = field.metadata.get("choices")
        if choices is None and typing.get_origin(hint) is typing.Literal:
            choices = typing.get_args(hint)
        found.append(
            OptionInfo(
                key=key,
                type=type_name(hint),
                default=default_of(field),
                help=field_help(field),
                choices=choices,
                changes_result=bool(field.metadata.get("changes_result", True)),
            )
        )
    return found


def to_dict(obj: Any) -> dict[str, Any]:
    """Return the options as dicts, lists, numbers and text of YAML and JSON; `build` is the inverse."""
    return {f.name: _plain(getattr(obj, f.name)) for f in dataclasses.fields(obj) if f.init}


def field_help(field: dataclasses.Field[Any]) -> str:
    """Return the help text given to `opt`, empty for other fields."""
    return str(field.metadata.get("help", ""))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field, `REQUIRED` where there is none."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED


def has_own_default(field: dataclasses.Field[Any]) -> bool:
    """Return whether a field that holds a dataclass has a default other than that dataclass's own."""
    factory = field.default_factory
    return field.default is not dataclasses.MISSING or not (
        factory is dataclasses.MISSING or dataclasses.is_dataclass(factory)
    )


@functools.cache
def hints_of(cls: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name; raise `TypeError` for any other class."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls!r} is not a dataclass")
    return typing.get_type_hints(cls)


def type_name(hint: Any) -> str:
    """Return a type as help and messages name it: `tuple[int, ...]` is "list of int"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else type_name(a) for a in args)
    if origin is typing.Literal:
        return "one of " + listed(args)
    if origin in (tuple, list, Sequence):
        inner = [type_name(a) for a in args if a is not Ellipsis]
        return "list of " + (inner[0] if len(set(inner)) == 1 else ", ".join(inner))
    if origin in (dict, Mapping):
        return f"keys with {type_name(args[1])}"
    names = {str: "text", int: "int", float: "float", bool: "bool", Any: "any", Path: "path"}
    return str(names.get(hint) or getattr(hint, "__name__", hint))
