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

_MAX_TEXT = 1 << 17
"""Characters of a config. Longer text takes seconds to read, and is not a config."""

_MAX_DEPTH = 32
"""Sections and lists within each other; deeper ones reach Python's recursion limit here or later."""

_MAX_VALUES = 20_000
"""Keys and values of a config, an alias counted as what it stands for: nine lines can be billions."""

_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: `1e-5` is a number, `no`, `10:30` and dates are text.

    Repeated keys are refused instead of the last one winning silently. So are values that are too deep or,
    with their aliases, too many, before anything is built from them.
    """

    yaml_implicit_resolvers: typing.ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = 0
        self._values: dict[int, int] = {}
        """The values in each node that is complete, by the node's `id`; the tree keeps the nodes alive."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        alias, mark = isinstance(event, yaml.AliasEvent), event.start_mark
        if self._depth > _MAX_DEPTH:
            raise _refusal(f"more than {_MAX_DEPTH} sections or lists within each other", mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        assert node is not None
        self._depth -= 1
        if not alias:
            self._values[id(node)] = 1 + sum(self._values[id(n)] for n in _below(node))
        elif id(node) not in self._values:
            raise _refusal("a value that contains itself", mark)
        if max(len(self._values), self._values[id(node)]) > _MAX_VALUES:
            raise _refusal(
                f"more than {_MAX_VALUES:,} keys and values, counting what aliases stand for", mark
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _refusal("expected keys with values here", node.start_mark)
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise _refusal("a list or a section cannot be a key", key_node.start_mark)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise _refusal(f"key {key!r} is given twice (line {line})", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _refusal(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _below(node: yaml.Node) -> list[yaml.Node]:
    """Return the nodes directly in `node`: keys and values of a mapping, items of a list."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


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
    """Return the value of YAML `text`.

    Raises `UserError` naming `where` and line when it is not YAML, or stands for more than a config.
    """
    if len(text) > _MAX_TEXT:
        raise UserError(f"{where}: has more than {_MAX_TEXT:,} characters; check that it is a config")
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
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(_MAX_TEXT + 1)  # one more, so that a longer file is refused
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
    text: str = yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return _BIDI.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)  # all within double quotes, see below


class _Dumper(yaml.SafeDumper):
    """Quotes by the stricter YAML 1.1 rules, which version 1.2 reads the same; short lists stay on a line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    scalars = all(not isinstance(v, list | dict) for v in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=scalars)


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    quoted = "\n" in data or _BIDI.search(data) or isinstance(_plain_scalar(data), float)
    style = '"' if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


def _plain_scalar(text: str) -> Any:
    """Return the value of unquoted `text` that looks like a number ("1e-5"); None for other text."""
    return yaml.load(text, Loader=_Loader) if NUMBER.fullmatch(text) else None


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
