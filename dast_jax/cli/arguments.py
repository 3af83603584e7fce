"""A command's flags, `key=value` overrides, `--help` and `--print-config`.

ARGUMENTS = Arguments(
    "verify", "Check predictions against references.", VerifyOptions,
    Flag("--data", required=True, help="JSONL rows with `reference` and `prediction`"),
)

@command
def main(argv=None):
    args, options = ARGUMENTS.parse(argv)
    ...
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from dast_jax.assets import refuse_remote
from dast_jax.cli.help import keys_help
from dast_jax.cli.schemas import Schema
from dast_jax.errors import UserError
from dast_jax.options import REQUIRED, dump_yaml
from dast_jax.runtime.visible import visible

__all__ = ["Arguments", "Flag", "OutputShown", "output_path"]

T = TypeVar("T")


@dataclass(frozen=True)
class Flag:
    """A flag of one command (`--data`).

    It may be required; be repeated, so that its values are a list; set the config's `key`; be a `switch`,
    which takes no value and is True where given; or name a run directory with the `config_below` it.
    """

    name: str
    _: KW_ONLY
    help: str
    key: str | None = None
    required: bool = False
    repeated: bool = False
    switch: bool = False
    config_below: bool = False
    default: str | None = None

    @property
    def attribute(self) -> str:
        """The flag's name in the parsed namespace."""
        return self.name.lstrip("-").replace("-", "_")


class OutputShown(Exception):
    """Help or the config was printed, and the command is done."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that leaves printing and exiting to the command."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class Arguments(Generic[T]):
    """What the command `dast_jax.NAME` takes: flags, and the keys of an options dataclass or `Schema`."""

    def __init__(
        self, name: str, description: str, schema: type[T] | Schema[T], *flags: Flag, example: str = ""
    ):
        """Remember them. `example` are arguments that work as they are, for those who give none."""
        self.name = name
        self.example = example
        self.description = textwrap.dedent(description).strip()
        self.flags = flags
        self._schema = schema if isinstance(schema, Schema) else Schema(schema)

    def parse(self, argv: Sequence[str] | None) -> tuple[argparse.Namespace, T]:
        """Return the flags' values and the config, from `argv` (None: the command line's).

        The config is what `--config` says, under the flags that set keys, under the `key=value` overrides.
        Handles `--help` and `--print-config` by leaving through the `command` wrapper. Raises `UserError`.
        """
        arguments = list(sys.argv[1:] if argv is None else argv)
        schema, parser = self._schema, self._parser()
        if "-h" in arguments or "--help" in arguments:
            print(visible(parser.format_help() + keys_help(schema, arguments, parser.prog), keep="\n"))
            raise OutputShown
        if self.example and not arguments:
            raise UserError(
                f"nothing to {self.name}; try {parser.prog} {self.example}, or see {parser.prog} --help"
            )
        args = _parse(parser, arguments)
        config = self._config(args)
        mapping = schema.load(config) if config else {}
        for f in self.flags:
            value = getattr(args, f.attribute)
            if f.key is not None and value is not None:
                mapping = _set(mapping, f.key, value)
        mapping = schema.override(mapping, args.overrides)
        if args.print_config:
            print(dump_yaml(schema.plain(schema.build(_filled(mapping, schema)))), end="")
            raise OutputShown
        self._check_required(args, parser.prog)
        return args, schema.build(mapping)

    def _parser(self) -> _Parser:
        program = _invocation(self.name)
        parser = _Parser(
            prog=program,
            description=self.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
            usage=" ".join([program, *self._usage()]),
        )
        self.add_to(parser)
        return parser

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the flags and the overrides to `parser`."""
        parser.add_argument(
            "-h", "--help", action="store_true", help="show this help; --help all lists every key"
        )
        for f in self.flags:
            action = "append" if f.repeated else "store"
            note = " (required)" if f.required else f" (sets {f.key})" if f.key else ""
            if f.default is not None:
                note += f" (default: {f.default})"
            text = (f.help + note).replace("%", "%%")
            if f.switch:
                parser.add_argument(f.name, action="store_true", help=text)
            else:
                parser.add_argument(f.name, action=action, default=f.default, metavar="…", help=text)
        parser.add_argument("--config", metavar="…", help="a YAML file, or the name of a packaged config")
        parser.add_argument("--print-config", action="store_true", help="print the complete config and exit")
        parser.add_argument(
            "overrides", nargs="*", metavar="key=value", help="set a key, overriding everything else"
        )

    def _usage(self) -> Iterator[str]:
        for f in self.flags:
            value = "" if f.switch else " …"
            yield f"{f.name}{value}" if f.required else f"[{f.name}{value}]"
        yield "[--config FILE]"
        yield "[key=value …]"

    def _config(self, args: argparse.Namespace) -> str | None:
        """Return the config file: that of `--config`, or of a run that a flag names."""
        for f in self.flags:
            folder = getattr(args, f.attribute) if f.config_below else None
            if folder is None:
                continue
            if args.config:
                raise UserError(f"--config: is that of the run; give {f.name} or --config")
            file = Path(folder) / "config.yaml"
            if not file.is_file():
                raise UserError(f"{folder}: is no run directory (it has no config.yaml)")
            return str(file)
        return str(args.config) if args.config else None

    def _check_required(self, args: argparse.Namespace, program: str) -> None:
        missing = [f.name for f in self.flags if f.required and getattr(args, f.attribute) is None]
        if missing:
            raise UserError(f"{' and '.join(missing)}: must be given; see {program} --help")


def _invocation(name: str) -> str:
    """Return the command's name for messages, as the user called it if that was through `dast-jax`."""
    return f"dast-jax {name}" if Path(sys.argv[0]).name == "dast-jax" else f"python -m dast_jax.{name}"


def _parse(parser: _Parser, arguments: Sequence[str]) -> argparse.Namespace:
    try:
        args, unknown = parser.parse_known_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; see {parser.prog} --help") from error
    if unknown:
        text = unknown[0]
        bare = text.lstrip("-")
        hint = f"write it as {bare}" if "=" in bare and "." in bare else f"see {parser.prog} --help"
        raise UserError(f"{text}: unknown argument; {hint}")
    return args


def _set(mapping: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy of `mapping` with the dotted `key` set to `value` as it is (no YAML reading)."""
    head, _, rest = key.partition(".")
    if not rest:
        return {**mapping, head: value}
    below = mapping.get(head)
    return {**mapping, head: _set(below if isinstance(below, Mapping) else {}, rest, value)}


def _filled(mapping: dict[str, Any], schema: Schema[Any]) -> dict[str, Any]:
    """Return `mapping` with "REQUIRED" for each missing key, so that an incomplete config can be shown."""
    for info in schema.describe(mapping):
        section: Any = mapping
        *above, name = info.key.split(".")
        for part in above:
            section = section.get(part) or {} if isinstance(section, Mapping) else {}
        if info.default is REQUIRED and isinstance(section, Mapping) and name not in section:
            mapping = _set(mapping, info.key, "REQUIRED")
    return mapping


def output_path(text: str) -> Path:
    """Return `text` as a path to write; raise `UserError` for a folder, or where its folder is missing."""
    refuse_remote(text, "name a local file to write")
    path = Path(text)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file to write")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; create it or name another file")
    return path
