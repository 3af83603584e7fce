"""Where a path in a config points: a plain path, or `asset:NAME` for what ships with the package."""

from __future__ import annotations

from pathlib import Path

from dast_jax.errors import UserError
from dast_jax.options import nearest

__all__ = ["ASSETS", "resolve_path"]

ASSETS = Path(__file__).parent
"""The folder of the embedded base model and problems."""

_PREFIX = "asset:"


def resolve_path(text: str | Path) -> Path:
    """Return the path that `text` names: `asset:NAME` is in the package, `~` the home folder.

    Raises `UserError` for an asset that does not exist; other paths are not checked.
    """
    if not str(text).startswith(_PREFIX):
        return Path(text).expanduser()
    name = str(text)[len(_PREFIX) :]
    path = (ASSETS / name).resolve()
    if not path.is_relative_to(ASSETS.resolve()) or not path.exists():
        have = [
            str(p.relative_to(ASSETS)) for p in sorted(ASSETS.rglob("*")) if not p.name.startswith(("_", "."))
        ]
        raise UserError(f"{text}: there is no such asset{nearest(name, have)}")
    return path
