"""Flags, `key=value` overrides, `--help` and `--print-config`, alike for every command.

@command
def main(argv=None):
    args, config = parse_arguments(
        "verify", "Check predictions against references.", VerifyConfig, argv,
        Flag("--data", required=True, help="JSONL rows with `reference` and `prediction`"),
    )
    ...
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dast_jax.cli.help import keys_help
from dast_jax.cli.schemas import Schema
from dast_jax.errors import UserError
from dast_jax.options import REQUIRED, dump_yaml

__all__ = ["Flag", "OutputShown", "output_path", "parse_arguments"]

T = TypeVar("T")


@dataclass(frozen=True)
class Flag:
    """A flag of one command (`--data`): required or not, repeatable (a list then), setting the key `key`,
    or a `switch` that takes no value (True where given)."""

    name: str
    _: KW_ONLY
    help: str
    key: str | None = None
    required: bool = False
    repeated: bool = False
    switch: bool = False
    default: str | None = None

    @property
    def attribute(self) -> str:
        return self.name.lstrip("-").replace("-", "_")


class _Parser(argparse.ArgumentParser):
    """argparse that leaves talking and exiting to the command."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m {self.prog} --help")


class OutputShown(Exception):
    """Help or the config was printed, and the command is done."""


def parse_arguments(
    name: str,
    description: str,
    schema: type[T] | Schema[T] | None,
    argv: Sequence[str] | None,
    *flags: Flag,
) -> tuple[argparse.Namespace, T]:
    """The flags' values and the config of command `dast_jax.NAME`, from `argv` (None: the command line's).

    The config is what `--config` says, under the flags that stand for keys, under the `key=value` overrides.
    `schema` is an options dataclass, a `Schema`, or None for a command without keys (the config is None).
    Handles `--help` and `--print-config` by leaving through the `command` wrapper. Raises `UserError`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if schema is not None and not isinstance(schema, Schema):
        schema = Schema(schema)
    parser = _parser(name, description, flags, has_keys=schema is not None)
    if "-h" in arguments or "--help" in arguments:
        print(parser.format_help() + keys_help(schema, arguments))
        raise OutputShown
    args = _parse(parser, arguments)
    if schema is None:
        _check_required(args, flags, name)
        return args, None  # type: ignore[return-value]
    mapping = schema.load(args.config) if args.config else {}
    for f in flags:
        value = getattr(args, f.attribute)
        if f.key is not None and value is not None:
            mapping = _set(mapping, f.key, value)
    mapping = schema.override(mapping, args.overrides)
    if args.print_config:
        print(dump_yaml(schema.plain(schema.build(_filled(mapping, schema)))), end="")
        raise OutputShown
    _check_required(args, flags, name)
    return args, schema.build(mapping)


def _usage(flags: Sequence[Flag], *, has_keys: bool) -> Iterator[str]:
    for f in flags:
        value = "" if f.switch else " …"
        yield f"{f.name}{value}" if f.required else f"[{f.name}{value}]"
    if has_keys and all(f.name != "--config" for f in flags):
        yield "[--config FILE]"
    if has_keys:
        yield "[key=value …]"


def _parser(name: str, description: str, flags: Sequence[Flag], *, has_keys: bool) -> _Parser:
    parser = _Parser(
        prog=f"dast_jax.{name}",
        description=textwrap.dedent(description).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
        usage=" ".join([f"python -m dast_jax.{name}", *_usage(flags, has_keys=has_keys)]),
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this text, with every key")
    for f in flags:
        action = "append" if f.repeated else "store"
        note = " (required)" if f.required else f" (sets {f.key})" if f.key else ""
        if f.default is not None:
            note += f" (default: {f.default})"
        text = (f.help + note).replace("%", "%%")
        if f.switch:
            parser.add_argument(f.name, action="store_true", help=text)
            continue
        parser.add_argument(f.name, action=action, default=f.default, metavar="…", help=text)
    if has_keys:
        if all(f.name != "--config" for f in flags):
            parser.add_argument("--config", metavar="…", help="a YAML file, or the name of a packaged config")
        parser.add_argument("--print-config", action="store_true", help="print the whole config and stop")
        parser.add_argument(
            "overrides", nargs="*", metavar="key=value", help="set a key; they win over all else"
        )
    return parser


def _parse(parser: _Parser, arguments: Sequence[str]) -> argparse.Namespace:
    try:
        args, unknown = parser.parse_known_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; see python -m {parser.prog} --help") from error
    if unknown:
        text = unknown[0]
        bare = text.lstrip("-")
        hint = f"write it as {bare}" if "=" in bare and "." in bare else f"see python -m {parser.prog} --help"
        raise UserError(f"{text}: unknown argument; {hint}")
    return args


def _check_required(args: argparse.Namespace, flags: Sequence[Flag], name: str) -> None:
    missing = [f.name for f in flags if f.required and getattr(args, f.attribute) is None]
    if missing:
        needs = " and ".join(missing)
        raise UserError(f"{needs}: must be given; see python -m dast_jax.{name} --help")


def _set(mapping: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of `mapping` with the dotted `key` set to `value` as it is (no YAML reading)."""
    head, _, rest = key.partition(".")
    if not rest:
        return {**mapping, head: value}
    below = mapping.get(head)
    return {**mapping, head: _set(below if isinstance(below, Mapping) else {}, rest, value)}


def _filled(mapping: dict[str, Any], schema: Schema[Any]) -> dict[str, Any]:
    """`mapping` with "REQUIRED" for what must still be given, so that it can be shown before it is whole."""
    for info in schema.describe(mapping):
        section: Any = mapping
        *above, name = info.key.split(".")
        for part in above:
            section = section.get(part) or {} if isinstance(section, Mapping) else {}
        if info.default is REQUIRED and isinstance(section, Mapping) and name not in section:
            mapping = _set(mapping, info.key, "REQUIRED")
    return mapping


def output_path(text: str) -> Path:
    """`text` as a path to write to; `UserError` when its folder is missing or it is a folder itself."""
    path = Path(text)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file to write")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it or name another file")
    return path
