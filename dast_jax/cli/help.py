"""The text of `--help` that lists a command's keys: those that most runs set, or all of them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dast_jax.cli.schemas import Schema
from dast_jax.options import REQUIRED, OptionInfo, apply_overrides

__all__ = ["default_text", "keys_help"]


_COMMON = (
    "run.dir",
    "run.rounds",
    "model.path",
    "data.train",
    "evaluation.sets",
    "method.name",
    "sampling.temperature",
    "sampling.max_new_tokens",
    "training.learning_rate",
    "training.batch_size",
    "sampling.trials",
    "evaluation.trials",
    "evaluation.temperature",
    "prompts.style",
)
"""Keys that most runs set. The help of a command lists the first ten that it has."""

_SHOWN = 10
_SHORT = 20
"""Keys of a command that are few enough to list them all."""


def keys_help(schema: Schema[Any], arguments: Sequence[str], program: str) -> str:
    """Return the list of the keys that most runs set, or of every key for `--help all`.

    A method that `arguments` name is listed with its keys.
    """
    chosen = apply_overrides({}, [a for a in arguments if "=" in a and not a.startswith("-")])
    named_method = "method" in chosen
    for i, text in enumerate(arguments):
        path = arguments[i + 1] if text == "--config" and i + 1 < len(arguments) else None
        if path is not None or text.startswith("--config="):
            chosen = {**schema.load(path or text.partition("=")[2]), **chosen}
    every = schema.describe(chosen)
    shown = every if "all" in arguments or len(every) <= _SHORT else _shown(every, named_method)
    lines, section = ["", "keys:" if len(shown) == len(every) else "the keys that most runs set:"], None
    width = min(shutil.get_terminal_size((80, 24)).columns, 110)
    for info in shown:
        head = info.key.partition(".")[0]
        if head != section:
            section = head
            lines += ["", *([f"  {section}"] if "." in info.key else [])]
        lines += _key_lines(info, width)
    if len(shown) < len(every):
        lines += ["", f"{program} --help all lists all {len(every)} keys."]
    return "\n".join(lines)


def _shown(every: Sequence[OptionInfo], method: bool) -> list[OptionInfo]:
    """Return the keys of the short help, in their own order; with `method`, its keys too."""
    known = {info.key for info in every}
    other = {"sampling.trials"} if {"trials", "method.trials"} & known else set()  # which decide there
    common = [key for key in _COMMON if key in known - other][:_SHOWN]
    return [info for info in every if info.key in common or (method and info.key.startswith("method."))]


def _key_lines(info: OptionInfo, width: int) -> Iterator[str]:
    default = "required" if info.default is REQUIRED else f"default {default_text(info.default)}"
    kind = info.type
    if info.choices and not kind.startswith("one of"):
        kind += " of " + ", ".join(str(c) for c in info.choices)
    yield f"    {info.key}  ({kind}; {default})"
    yield from textwrap.wrap(info.help, width, initial_indent=" " * 8, subsequent_indent=" " * 8)


def default_text(value: Any) -> str:
    """Return a default as it is written after `key=`."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(default_text(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {default_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return '"' + value.replace("\n", "\\n") + '"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
