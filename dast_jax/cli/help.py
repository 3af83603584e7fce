"""The text of `--help` that lists a command's keys."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dast_jax.cli.schemas import Schema
from dast_jax.options import REQUIRED, OptionInfo, apply_overrides

__all__ = ["keys_help"]


def keys_help(schema: Schema[Any], arguments: Sequence[str]) -> str:
    """Return the list of every key, given what `arguments` already choose."""
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
    """Return a default as it is written after `key=`."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_default_text(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_default_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return '"' + value.replace("\n", "\\n") + '"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
