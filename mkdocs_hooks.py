"""Pages of the site that are made when it is built: every key of a run's config, from its declarations."""

from __future__ import annotations

from collections.abc import Iterable

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from dast_jax.cli.help import default_text
from dast_jax.config import describe_config
from dast_jax.methods.lookup import METHODS
from dast_jax.options import REQUIRED, OptionInfo

_TOP = """# Config keys

Every key that a run's config may set, as `dast-jax train --help all` lists them. Those marked with ○ may
change when a run is resumed; the others are kept for the whole run, as they change its result.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the config's keys."""
    files.append(File.generated(config, "options.md", content=options_page()))
    return files


def options_page() -> str:
    """Return the page: a table for each section, and one for each method's keys."""
    keys = describe_config({})
    sections = dict.fromkeys(key.key.partition(".")[0] for key in keys)
    parts = [_TOP]
    for section in sections:
        if section != "method":
            own = [key for key in keys if key.key.partition(".")[0] == section]
            parts.append(f"## `{section}`\n\n{_table(own)}")
    for method in METHODS:
        found = describe_config({"method": {"name": method}})
        own = [key for key in found if key.key.startswith("method.") and key.key != "method.name"]
        parts.append(f"## `method`: {method}\n\n{_table(own)}")
    return "\n".join(parts)


def _table(keys: Iterable[OptionInfo]) -> str:
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    for key in keys:
        choices = f" (one of {', '.join(map(str, key.choices))})" if key.choices else ""
        default = "required" if key.default is REQUIRED else f"`{default_text(key.default)}`"
        mark = "" if key.changes_result else " ○"
        cells = [f"`{key.key}`{mark}", key.type, default, key.help + choices]
        lines.append(
            "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
        )
    return "\n".join(lines) + "\n"
