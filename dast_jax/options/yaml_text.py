"""Config text: read YAML with the scalars of version 1.2, write YAML, name file and line in errors."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dast_jax.errors import UserError

__all__ = ["NUMBER", "dump_yaml", "load_yaml", "parse_yaml"]

NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
"""Text that reads as a decimal number."""


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: `1e-5` is a number, `no`, `10:30` and dates are text.

    Repeated keys are refused instead of the last one winning silently.
    """

    yaml_implicit_resolvers: typing.ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(
                None, None, "expected keys with values here", node.start_mark
            )
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, "a list or a section cannot be a key", key_node.start_mark
                )
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice (line {line})", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), None)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), None
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), None)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    None,
)


def parse_yaml(text: str, *, where: str = "config") -> Any:
    """Return the value of YAML `text`; raise a `UserError` naming `where` and line when it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}{place}: not valid YAML ({problem})") from error
    except (ValueError, LookupError, AttributeError) as error:  # `!!bool x`: a tag that its text does not fit
        raise UserError(f"{where}: not valid YAML ({error})") from error


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return the sections of a YAML config file, `{}` for an empty one.

    Raises `UserError` when the file is missing, unreadable or not a config.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such config file") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{path}: cannot be read as a config ({reason})") from error
    value = parse_yaml(text, where=str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: a config is sections of keys, and this is {value!r:.80}")
    return value


def dump_yaml(mapping: Mapping[str, Any]) -> str:
    """Return YAML text that `parse_yaml` reads back to the same values, keys in their given order."""
    return yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes by the stricter YAML 1.1 rules, which version 1.2 reads the same; short lists stay on a line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    scalars = all(not isinstance(v, list | dict) for v in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=scalars)


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    style = '"' if "\n" in data or isinstance(_plain_scalar(data), float) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


def _plain_scalar(text: str) -> Any:
    """Return the value of unquoted `text` that looks like a number ("1e-5"); None for other text."""
    return yaml.load(text, Loader=_Loader) if NUMBER.fullmatch(text) else None


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
