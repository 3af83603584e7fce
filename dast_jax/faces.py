"""What every face (`python -m dast_jax.NAME`) shares: flags, `key=value` overrides, help, exit codes.

    @face
    def main(argv=None):
        args, config = parse_arguments(
            "verify", "Check predictions against references.", VerifyConfig, argv,
            Flag("--data", required=True, help="JSONL rows with `reference` and `prediction`"),
        )
        ...

Exit codes: 0 done, 1 a bug (with its traceback), 2 the person's mistake, 3 the training diverged, 75
interrupted but resumable (signal, full disk). What a person can mend is told in one sentence on stderr.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import shutil
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Generic, NoReturn, TypeVar

from dast_jax import interruption
from dast_jax.errors import DivergedError, InterruptedRunError, UserError, disk_full
from dast_jax.options import (
    REQUIRED,
    OptionInfo,
    apply_overrides,
    build,
    describe,
    dump_yaml,
    to_dict,
)

__all__ = ["Flag", "Schema", "face", "output_path", "parse_arguments"]

T = TypeVar("T")


# --- arguments --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flag:
    """A flag of one face (`--data`): required or not, repeatable (a list then), setting the key `key`, or a
    `switch` that takes no value (True where given)."""

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


class Schema(Generic[T]):
    """How a face's config is made from nested mappings and described; subclass it where sections vary."""

    def __init__(self, cls: type[T]):
        self.cls = cls

    def load(self, path: str) -> dict[str, Any]:
        """The mapping in the file that `--config` names, without sections that only other faces have."""
        from dast_jax.config import SECTIONS, config_path
        from dast_jax.options import load_yaml

        mine = {info.key.split(".")[0] for info in self.describe({})}
        mapping = load_yaml(config_path(path))
        return {k: v for k, v in mapping.items() if k in mine or k not in SECTIONS}

    def override(self, mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
        """`mapping` under the `key=value` overrides of the command line."""
        return apply_overrides(mapping, overrides)

    def build(self, mapping: Mapping[str, Any]) -> T:
        return build(self.cls, mapping)

    def describe(self, mapping: Mapping[str, Any]) -> list[OptionInfo]:
        """Every key that may be set, given what `mapping` already chooses."""
        return describe(self.cls)

    def plain(self, config: T) -> dict[str, Any]:
        return to_dict(config)


class _Parser(argparse.ArgumentParser):
    """argparse that leaves talking and exiting to the face."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m {self.prog} --help")


class _Shown(Exception):
    """Help or the config was printed, and the face is done."""


def parse_arguments(
    name: str,
    description: str,
    schema: type[T] | Schema[T] | None,
    argv: Sequence[str] | None,
    *flags: Flag,
) -> tuple[argparse.Namespace, T]:
    """The flags' values and the config of face `dast_jax.NAME`, from `argv` (None: the command line's).

    The config is what `--config` says, under the flags that stand for keys, under the `key=value` overrides.
    `schema` is an options dataclass, a `Schema`, or None for a face without keys (the config is then None).
    Handles `--help` and `--print-config` by leaving through the `face` wrapper. Raises `UserError`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if schema is not None and not isinstance(schema, Schema):
        schema = Schema(schema)
    parser = _parser(name, description, flags, has_keys=schema is not None)
    if "-h" in arguments or "--help" in arguments:
        print(parser.format_help() + _keys_help(schema, arguments))
        raise _Shown
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
        raise _Shown
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


# --- help -------------------------------------------------------------------------------------------


def _keys_help(schema: Schema[Any] | None, arguments: Sequence[str]) -> str:
    if schema is None:
        return ""
    chosen = apply_overrides({}, [a for a in arguments if "=" in a and not a.startswith("-")])
    for i, text in enumerate(arguments):
        path = arguments[i + 1] if text == "--config" and i + 1 < len(arguments) else None
        if path is not None or text.startswith("--config="):
            chosen = {**schema.load(path or text.partition("=")[2]), **chosen}
    lines, section = ["", "keys:"], None
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    for info in schema.describe(chosen):
        head = info.key.partition(".")[0]
        if head != section:
            section = head
            lines += ["", f"  {section}"]
        lines += _key_lines(info, width)
    return "\n".join(lines)


def _key_lines(info: OptionInfo, width: int) -> Iterator[str]:
    default = "required" if info.default is REQUIRED else f"default {_default_text(info.default)}"
    kind = info.type
    if info.choices and not kind.startswith("one of"):
        kind += " of " + ", ".join(str(c) for c in info.choices)
    yield f"    {info.key}  ({kind}; {default})"
    yield from textwrap.wrap(info.help, width, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _default_text(value: Any) -> str:
    """A default as one would write it after `key=`."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_default_text(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_default_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return '"' + value.replace("\n", "\\n") + '"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# --- running ----------------------------------------------------------------------------------------


class _Signalled(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived. A KeyboardInterrupt, so that nobody's `except Exception` swallows it."""

    def __init__(self, number: int):
        super().__init__(number)
        self.name = signal.Signals(number).name


def face(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a face's `main(argv=None)`: it returns the exit code, whatever happens inside."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        restore_signals, restore_console = _catch_signals(), _start_console()
        try:
            return main(argv) or 0
        except _Shown:
            return 0
        except (UserError, DivergedError, InterruptedRunError) as error:
            return _say(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            name = getattr(error, "name", "SIGINT")
            return _say(
                f"stopped by {name}; the same command goes on from here", InterruptedRunError.exit_code
            )
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: flush to nowhere
            return InterruptedRunError.exit_code
        except Exception as error:
            if (place := disk_full(error)) is not None:
                free = f"disk full{place}; free space and run the same command to go on"
                return _say(free, InterruptedRunError.exit_code)
            if isinstance(error, PermissionError) and error.filename:
                return _say(
                    f"{error.filename}: permission denied; choose a path you may use", UserError.exit_code
                )
            traceback.print_exc()
            return 1
        finally:
            interruption.clear()
            restore_console()
            restore_signals()

    return wrapped


def output_path(text: str) -> Path:
    """`text` as a path to write to; `UserError` when its folder is missing or it is a folder itself."""
    path = Path(text)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file to write")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it or name another file")
    return path


def _say(message: str, code: int) -> int:
    sys.stdout.flush()
    print(f"error: {message}" if code == UserError.exit_code else message, file=sys.stderr, flush=True)
    return code


class _Console(logging.Handler):
    """What the package logs, on whatever stderr is now (a live progress bar puts itself in between)."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "file_only", False):
            prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            print(prefix + self.format(record), file=sys.stderr, flush=True)


def _start_console() -> Callable[[], None]:
    """Show the package's log on stderr; the function returned takes that back."""
    logger, console = logging.getLogger("dast_jax"), _Console()
    before = (logger.propagate, logger.level)
    logger.addHandler(console)
    logger.propagate = False  # some libraries give the root logger a handler of its own
    logger.setLevel(logging.INFO)

    def restore() -> None:
        logger.removeHandler(console)
        logger.propagate = before[0]
        logger.setLevel(before[1])

    return restore


def _in_gc_callback(frame: FrameType | None) -> bool:
    """Whether the signal struck inside a callback of the garbage collector, such as jax's."""
    while frame is not None:
        if frame.f_code.co_name.endswith("gc_callback"):
            return True
        frame = frame.f_back
    return False


def _catch_signals() -> Callable[[], None]:
    """Turn the first SIGINT or SIGTERM into an exception; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    caught = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.getsignal(s) for s in caught}

    def stop(number: int, frame: FrameType | None) -> None:
        for s in caught:
            signal.signal(s, signal.SIG_DFL)
        error = _Signalled(number)
        interruption.request(error)
        if not _in_gc_callback(frame):  # what is raised there is printed and lost
            raise error

    for s in caught:
        signal.signal(s, stop)

    def restore() -> None:
        for s, handler in before.items():
            signal.signal(s, handler if handler is not None else signal.SIG_DFL)

    return restore
