"""Options as frozen dataclasses: declared with `opt`, read from YAML, overridden by `key=value`, checked.

A room declares what can be set:

    @dataclass(frozen=True, kw_only=True)
    class SamplingOptions:
        temperature: float = opt(1.0, "softmax temperature; 0 is greedy", min=0)

and `build(SamplingOptions, {"temperature": 0.7}, where="sampling")` makes one, or raises a `UserError`
that names the key. Only the standard library and yaml are used here.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dast_jax.errors import UserError
from dast_jax.yaml_text import NUMBER, dump_yaml, load_yaml, parse_yaml

__all__ = [
    "REQUIRED",
    "OptionInfo",
    "apply_overrides",
    "build",
    "describe",
    "dump_yaml",
    "field_help",
    "load_yaml",
    "nearest",
    "opt",
    "parse_yaml",
    "to_dict",
]

T = TypeVar("T")


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
    """A dataclass field with what the faces and checks need to know about it.

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


# --- building -------------------------------------------------------------------------------------


def build(cls: type[T], mapping: Mapping[str, Any] | None, *, where: str = "") -> T:
    """An instance of the options dataclass `cls` from `mapping`; `where` is the key prefix for messages.

    Types are strict: an int does for a float, text that reads as a number (YAML's "1e-5") too, lists become
    tuples, a dict is laid over the option's default dict; nothing else is converted. Raises `UserError` for
    an unknown key (the nearest known one is offered), a missing one, a value of the wrong type or out of
    range, and for a `ValueError` from the dataclass's own `__post_init__`.
    """
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where or 'config'}: expected a section of keys, got {_show(mapping)}")
    hints = _hints(typing.cast(type, cls))
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        key = _join(where, str(name))
        if name not in known:
            raise UserError(f"{key}: unknown key{nearest(str(name), known, where)}")
        values[name] = _convert(hints[name], value, key, known[name])
    for name, field in known.items():
        if name in values:
            continue
        if dataclasses.is_dataclass(hints[name]) and not _own_default(field):
            values[name] = build(typing.cast(type, hints[name]), {}, where=_join(where, name))
        elif _default(field) is REQUIRED:
            raise UserError(f"{_join(where, name)}: this key is required; {field_help(field) or 'set it'}")
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from error


def nearest(name: str, known: Iterable[str], where: str = "") -> str:
    """The tail of a message about an unknown name: the nearest known one, or else all of them."""
    names = [str(k) for k in known]
    longer = [k for k in names if len(name) > 2 and k.startswith(name)]
    if len(longer) > 1 and len(longer) < 5:  # the first word of several
        return f"; did you mean {' or '.join(_join(where, k) for k in longer)}?"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        close = [k for k in names if name and (k.startswith(name) or name in k.split("_"))][:1]
    if close:
        return f"; did you mean {_join(where, close[0])}?"
    return f"; known are {', '.join(names)}" if names else ""


def _convert(hint: Any, value: Any, key: str, field: dataclasses.Field[Any]) -> Any:
    """`value` as the type `hint`, checked against the field's choices and range."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, key, field)
    if origin is typing.Literal:
        if value not in args or isinstance(value, bool) != any(
            a is value for a in args if isinstance(a, bool)
        ):
            raise UserError(f"{key}: expected one of {_listed(args)}, got {_show(value)}")
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
    raise UserError(f"{key}: expected {' or '.join(_type_name(m) for m in members)}, got {_show(value)}")


def _convert_sequence(
    origin: Any, args: tuple[Any, ...], value: Any, key: str, field: dataclasses.Field[Any]
) -> Any:
    if not isinstance(value, list | tuple):
        raise UserError(f"{key}: expected a list such as [{_example(args)}], got {_show(value)}")
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
        raise UserError(f"{key}: expected keys with values, got {_show(value)}")
    value_type = args[1] if len(args) == 2 else Any
    allowed = field.metadata.get("choices")
    default = _default(field)
    result = dict(default) if isinstance(default, Mapping) else {}
    values_only = _without_choices(field)
    for name, item in value.items():
        if not isinstance(name, str):
            name = str(name)
        if allowed is not None and name not in allowed:
            raise UserError(f"{_join(key, name)}: unknown key{nearest(name, allowed, key)}")
        result[name] = _convert(value_type, item, _join(key, name), values_only)
    return result


def _without_choices(field: dataclasses.Field[Any]) -> dataclasses.Field[Any]:
    """The same field's range, for the values of a dict whose `choices` are its keys."""
    return dataclasses.field(metadata={**field.metadata, "choices": None})


def _convert_scalar(hint: Any, value: Any, key: str) -> Any:
    if hint is bool:
        if not isinstance(value, bool):
            raise UserError(f"{key}: expected true or false, got {_show(value)}")
        return value
    if hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():  # 2e6 is a natural way to write a count
            return int(value)
        if isinstance(value, str) and NUMBER.fullmatch(value) and float(value).is_integer():
            return int(float(value)) if re.search("[.eE]", value) else int(value)
        raise UserError(f"{key}: expected a whole number, got {_show(value)}")
    if hint is float:
        if isinstance(value, str) and NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise UserError(f"{key}: expected a number, got {_show(value)}")
        return float(value)
    if hint is str:
        if not isinstance(value, str):
            quote = "; put it in quotes" if isinstance(value, bool | int | float) else ""
            raise UserError(f"{key}: expected text, got {_show(value)}{quote}")
        return value
    if isinstance(hint, type) and issubclass(hint, Path):
        if not isinstance(value, str | Path):
            raise UserError(f"{key}: expected a path, got {_show(value)}")
        return hint(value)
    if isinstance(hint, type) and isinstance(value, hint):
        return value
    raise UserError(f"{key}: expected {_type_name(hint)}, got {_show(value)}")


def _check_range(value: Any, key: str, field: dataclasses.Field[Any]) -> Any:
    """`value`, if the field's choices and limits allow it."""
    meta = field.metadata
    choices, low, high = meta.get("choices"), meta.get("min"), meta.get("max")
    if choices is not None and value not in choices:
        raise UserError(f"{key}: expected one of {_listed(choices)}, got {_show(value)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if low is not None and value < low:
            raise UserError(f"{key}: must be at least {low:g}, got {_show(value)}")
        if high is not None and value > high:
            raise UserError(f"{key}: must be at most {high:g}, got {_show(value)}")
    return value


# --- showing --------------------------------------------------------------------------------------


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
    """Every option of `cls`, nested dataclasses flattened to dotted keys, in the order of declaration."""
    hints, found = _hints(cls), []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key, hint = _join(where, field.name), hints[field.name]
        if dataclasses.is_dataclass(hint):
            found += describe(typing.cast(type, hint), where=key)
            continue
        choices = field.metadata.get("choices")
        if choices is None and typing.get_origin(hint) is typing.Literal:
            choices = typing.get_args(hint)
        found.append(
            OptionInfo(
                key=key,
                type=_type_name(hint),
                default=_default(field),
                help=field_help(field),
                choices=choices,
                changes_result=bool(field.metadata.get("changes_result", True)),
            )
        )
    return found


def to_dict(obj: Any) -> dict[str, Any]:
    """The options as the plain dicts, lists, numbers and text of YAML and JSON; `build` takes it back."""
    return {f.name: _plain(getattr(obj, f.name)) for f in dataclasses.fields(obj) if f.init}


def field_help(field: dataclasses.Field[Any]) -> str:
    """The help text given to `opt`, empty for other fields."""
    return str(field.metadata.get("help", ""))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED


def _own_default(field: dataclasses.Field[Any]) -> bool:
    """Whether a field that holds a dataclass has a default other than that dataclass's own defaults."""
    factory = field.default_factory
    return field.default is not dataclasses.MISSING or not (
        factory is dataclasses.MISSING or dataclasses.is_dataclass(factory)
    )


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls!r} is not a dataclass")
    return typing.get_type_hints(cls)


def _type_name(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _type_name(a) for a in args)
    if origin is typing.Literal:
        return "one of " + _listed(args)
    if origin in (tuple, list, Sequence):
        inner = [_type_name(a) for a in args if a is not Ellipsis]
        return "list of " + (inner[0] if len(set(inner)) == 1 else ", ".join(inner))
    if origin in (dict, Mapping):
        return f"keys with {_type_name(args[1])}"
    names = {str: "text", int: "int", float: "float", bool: "bool", Any: "any", Path: "path"}
    return str(names.get(hint) or getattr(hint, "__name__", hint))


def _example(args: tuple[Any, ...]) -> str:
    return {int: "64, 128", float: "0.5, 1.0", str: '"a", "b"'}.get(args[0] if args else Any, "…")


def _show(value: Any) -> str:
    text = "null" if value is None else repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 80 else text[:77] + "…"


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(v) for v in values)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


# --- overrides --------------------------------------------------------------------------------------


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `mapping` with `a.b.c=value` overrides laid over it, in order; values are read as YAML."""
    result: dict[str, Any] = _copied(mapping)
    for text in overrides:
        key, equals, raw = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise UserError(
                f"{text!r}: an override is written key=value, for example training.learning_rate=1e-5"
            )
        section = result
        for depth, part in enumerate(parts[:-1]):
            below = section.get(part)
            if below is None:
                below = section[part] = {}
            elif not isinstance(below, dict):
                above = ".".join(parts[: depth + 1])
                raise UserError(f"{key}: {above} is a value, not a section, so nothing can be set below it")
            section = below
        section[parts[-1]] = parse_yaml(raw, where=key)
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value
