"""Frozen dataclasses as JSON and back, driven by the types of their fields.

`from_json` is strict: a field that is missing, unknown or of another type is an error that names the file and
the field. So a field that is added changes the version of the file's schema.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dast_jax.errors import UserError
from dast_jax.records import Json
from dast_jax.store import durable

__all__ = ["from_json", "read_result", "to_json", "write_result"]

T = TypeVar("T")


def to_json(value: Any) -> Json:
    """Return dataclasses as objects, fields in order, tuples as lists, NaN and infinities as null.

    numpy scalars and arrays become plain numbers and lists.
    """
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    plain: Json = durable.plain(value)
    return plain


def from_json(cls: type[T], value: Any, where: str) -> T:
    """Return the `cls` that `to_json` turned into `value`; `where` names the file in errors.

    null where a number is expected becomes NaN. Raises `UserError` that names `where` and the field.
    """
    read: T = _read(cls, value, where, "")
    return read


def write_result(path: Path, result: Any) -> None:
    """Write a result (a dataclass) as a JSON file, atomically; its last key is the `digest` of the others."""
    content = to_json(result)
    assert isinstance(content, dict)
    durable.write_json(path, {**content, _DIGEST: _digest(content)})


def read_result(cls: type[T], path: Path) -> T:
    """Return the result that `write_result` wrote; `cls` has a field `schema` whose default is its version.

    Raises `UserError` where the file is missing, damaged, or of another version.
    """
    value = durable.read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: not readable as a JSON object; run the command that wrote it again")
    digest = value.pop(_DIGEST, None)
    expected = cls.schema  # type: ignore[attr-defined]
    if value.get("schema") != expected:
        raise UserError(
            f"{path}: its schema is {value.get('schema')!r} and this version reads {expected!r}; "
            "use the version of dast_jax that wrote it"
        )
    if digest is not None and digest != _digest(value):
        raise UserError(
            f"{path}: damaged or edited (its content is not what its digest says); restore it from a copy"
        )
    return from_json(cls, value, str(path))


_DIGEST = "digest"


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a file's content, whatever its layout."""
    text = json.dumps(durable.plain(content), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()  # as `write_text` encodes


# --- by type ------------------------------------------------------------------------------------------


def _read(kind: Any, value: Any, where: str, field: str) -> Any:
    if kind == Json or kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where, field)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _read_optional(arguments, value, where, field)
    if origin is typing.Literal:
        return value if value in arguments else _refuse(kind, value, where, field)
    if origin is tuple:
        return _read_tuple(arguments, value, where, field)
    if origin is dict:
        if not isinstance(value, dict):
            _refuse("an object", value, where, field)
        return {key: _read(arguments[1], item, where, _inside(field, key)) for key, item in value.items()}
    if kind is float and value is None:
        return float("nan")
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        _refuse(kind.__name__, value, where, field)
    return value


def _read_fields(kind: Any, value: Any, where: str, field: str) -> Any:
    if not isinstance(value, dict):
        _refuse("an object", value, where, field)
    annotations = _field_types(kind)
    for name in annotations:
        if name not in value:
            raise UserError(f"{where}: {_inside(field, name)}: missing; {_ADVICE}")
    for name in value:
        if name not in annotations:
            raise UserError(f"{where}: {_inside(field, name)}: unknown field; {_ADVICE}")
    return kind(
        **{name: _read(t, value[name], where, _inside(field, name)) for name, t in annotations.items()}
    )


@functools.cache
def _field_types(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _read_optional(arguments: tuple[Any, ...], value: Any, where: str, field: str) -> Any:
    if value is None and types.NoneType in arguments:
        return None
    (kind,) = (a for a in arguments if a is not types.NoneType)
    return _read(kind, value, where, field)


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _refuse("a list", value, where, field)
    if arguments[-1] is Ellipsis:
        kinds = arguments[:1] * len(value)
    elif len(value) == len(arguments):
        kinds = arguments
    else:
        _refuse(f"a list of {len(arguments)}", value, where, field)
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_read(kind, item, where, f"{field}[{i}]") for i, (kind, item) in pairs)


def _inside(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


_ADVICE = "the file was changed, or another version of dast_jax wrote it"


def _refuse(expected: Any, value: Any, where: str, field: str) -> typing.NoReturn:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else shown[:39] + "…"
    raise UserError(f"{where}: {field or 'the content'}: expected {expected}, got {shown}; {_ADVICE}")
