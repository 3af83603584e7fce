"""Make an options dataclass from nested mappings, strictly checked.

`build(SamplingOptions, {"temperature": 0.7}, where="sampling")` returns one, or raises a `UserError`
that names the key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dast_jax.errors import UserError
from dast_jax.options.declaration import (
    REQUIRED,
    default_of,
    field_help,
    has_own_default,
    hints_of,
    type_name,
)
from dast_jax.options.text import join_key, listed, nearest, shown
from dast_jax.options.yaml_text import NUMBER

__all__ = ["build"]

T = TypeVar("T")


def build(cls: type[T], mapping: Mapping[str, Any] | None, *, where: str = "") -> T:
    """Return an instance of the options dataclass `cls`; `where` is the key prefix for messages.

    Types are strict: a float may be given as an int or as text that reads as a number (YAML's "1e-5"), lists
    become tuples, a dict is laid over the option's default dict; nothing else is converted. Raises
    `UserError` for an unknown key (with the nearest known one), a missing one, a value of the wrong type or
    out of range, and for a `ValueError` from the dataclass's own `__post_init__`.
    """
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where or 'config'}: expected a section of keys, got {shown(mapping)}")
    hints = hints_of(typing.cast(type, cls))
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        key = join_key(where, str(name))
        if name not in known:
            raise UserError(f"{key}: unknown key{nearest(str(name), known, where)}")
        values[name] = _convert(hints[name], value, key, known[name])
    for name, field in known.items():
        if name in values:
            continue
        if dataclasses.is_dataclass(hints[name]) and not has_own_default(field):
            values[name] = build(typing.cast(type, hints[name]), {}, where=join_key(where, name))
        elif default_of(field) is REQUIRED:
            raise UserError(f"{join_key(where, name)}: this key is required; {field_help(field) or 'set it'}")
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from error


def _convert(hint: Any, value: Any, key: str, field: dataclasses.Field[Any]) -> Any:
    """Return `value` as the type `hint`, checked against the field's choices and range."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, key, field)
    if origin is typing.Literal:
        if value not in args or isinstance(value, bool) != any(
            a is value for a in args if isinstance(a, bool)
        ):
            raise UserError(f"{key}: expected one of {listed(args)}, got {shown(value)}")
        return value
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else build(hint, value, where=key)  # type: ignore[arg-type]
    if origin in (tuple, list) or hint in (tuple, list) or origin is Sequence:
        return _convert_sequence(origin or hint, args, value, key, field)
    if origin in (dict, Mapping) or hint is dict:
        return _convert_dict(args, value, key, field)
    return _check_range(_convert_scalar(hint, value, key), key, field)


def _convert_union(args: tuple[Any, ...], value: Any, key: str, field: dataclasses.Field[Any]) -> Any:
    if value is None and type(None) in args:
        return None
    members = [a for a in args if a is not type(None)]
    if len(members) == 1:
        return _convert(members[0], value, key, field)
    exact = [m for m in members if isinstance(m, type) and type(value) is m]
    for member in exact + members:
        try:
            return _convert(member, value, key, field)
        except UserError:
            continue
    raise UserError(f"{key}: expected {' or '.join(type_name(m) for m in members)}, got {shown(value)}")


def _convert_sequence(
    origin: Any, args: tuple[Any, ...], value: Any, key: str, field: dataclasses.Field[Any]
) -> Any:
    if not isinstance(value, list | tuple):
        raise UserError(f"{key}: expected a list such as [{_example(args)}], got {shown(value)}")
    if origin is tuple and args and Ellipsis not in args:
        if len(value) != len(args):
            raise UserError(f"{key}: expected a list of {len(args)}, got {len(value)}")
        element_types: Iterable[Any] = args
    else:
        element_types = [args[0] if args else Any] * len(value)
    elements = [
        _convert(t, v, f"{key}[{i}]", field)
        for i, (t, v) in enumerate(zip(element_types, value, strict=True))
    ]
    return elements if origin is list else tuple(elements)


def _convert_dict(
    args: tuple[Any, ...], value: Any, key: str, field: dataclasses.Field[Any]
) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{key}: expected keys with values, got {shown(value)}")
    value_type = args[1] if len(args) == 2 else Any
    allowed = field.metadata.get("choices")
    default = default_of(field)
    result = dict(default) if isinstance(default, Mapping) else {}
    values_only = _without_choices(field)
    for name, item in value.items():
        if not isinstance(name, str):
            name = str(name)
        if allowed is not None and name not in allowed:
            raise UserError(f"{join_key(key, name)}: unknown key{nearest(name, allowed, key)}")
        result[name] = _convert(value_type, item, join_key(key, name), values_only)
    return result


def _without_choices(field: dataclasses.Field[Any]) -> dataclasses.Field[Any]:
    """Return the field without its choices, for the values of a dict whose `choices` are its keys."""
    values: dataclasses.Field[Any] = dataclasses.field(metadata={**field.metadata, "choices": None})
    return values


def _convert_scalar(hint: Any, value: Any, key: str) -> Any:
    if hint is bool:
        if not isinstance(value, bool):
            raise UserError(f"{key}: expected true or false, got {shown(value)}")
        return value
    if hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():  # 2e6 is a natural way to write a count
            return int(value)
        if isinstance(value, str) and NUMBER.fullmatch(value) and float(value).is_integer():
            return int(float(value)) if re.search("[.eE]", value) else int(value)
        raise UserError(f"{key}: expected a whole number, got {shown(value)}")
    if hint is float:
        if isinstance(value, str) and NUMBER.fullmatch(value):
            value = float(value)
        with contextlib.suppress(OverflowError):  # a whole number beyond what a float can be
            if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
                return float(value)
        raise UserError(f"{key}: expected a number, got {shown(value)}")
    if hint is str:
        if not isinstance(value, str):
            quote = "; put it in quotes" if isinstance(value, bool | int | float) else ""
            raise UserError(f"{key}: expected text, got {shown(value)}{quote}")
        return value
    if isinstance(hint, type) and issubclass(hint, Path):
        if not isinstance(value, str | Path):
            raise UserError(f"{key}: expected a path, got {shown(value)}")
        return hint(value)
    if isinstance(hint, type) and isinstance(value, hint):
        return value
    raise UserError(f"{key}: expected {type_name(hint)}, got {shown(value)}")


def _check_range(value: Any, key: str, field: dataclasses.Field[Any]) -> Any:
    """Return `value`, if the field's choices and limits allow it; raise `UserError` otherwise."""
    meta = field.metadata
    choices, low, high = meta.get("choices"), meta.get("min"), meta.get("max")
    if choices is not None and value not in choices:
        raise UserError(f"{key}: expected one of {listed(choices)}, got {shown(value)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if low is not None and value < low:
            raise UserError(f"{key}: must be at least {low:g}, got {shown(value)}")
        if high is not None and value > high:
            raise UserError(f"{key}: must be at most {high:g}, got {shown(value)}")
    return value


def _example(args: tuple[Any, ...]) -> str:
    return {int: "64, 128", float: "0.5, 1.0", str: '"a", "b"'}.get(args[0] if args else Any, "…")
