"""Where a path in a config points: a plain path, or `asset:NAME` for what ships with the package."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from dast_jax.errors import UserError
from dast_jax.options import nearest

__all__ = ["ASSETS", "file_within", "refuse_remote", "resolve_path"]

ASSETS = Path(__file__).parent
"""The folder of the embedded base model and problems."""

_PREFIX = "asset:"


def resolve_path(text: str | Path) -> Path:
    """Return the path that `text` names: `asset:NAME` is in the package, `~` the home folder.

    Raises `UserError` for an asset that does not exist, and for a URL; other paths are not checked.
    """
    refuse_remote(text, "download it and name the local path")
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


def refuse_remote(text: str | Path, what_to_do: str) -> None:
    """Raise `UserError` for a URL such as `gs://bucket/x`, which as a path would be a local folder `gs:`."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", str(text))  # a Path has one slash of the two
    if scheme and len(scheme[1]) > 1:  # one letter is a drive of Windows
        raise UserError(f"{text}: {scheme[1]}:// addresses are not read or written; {what_to_do}")


def file_within(folder: Path, name: str, *, named_in: str = "") -> Path:
    """Return the file `name` of `folder`, which need not exist; `named_in` is the file that names it.

    Raises `UserError` for a name that leads out of the folder, or a link that does. What is in a folder
    must not make this program read files elsewhere. A snapshot of the hub's cache is an exception:
    its files are links to the blobs of the same repository.
    """
    by = f"{folder / named_in} names" if named_in else f"{folder}: cannot use"
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name or ".." in parts or PurePosixPath(name).is_absolute() or _windows(name):
        raise UserError(
            f"{by} {name!r}, which is not a file inside the folder; use another copy of the model"
        )
    path = folder / name
    target, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if target.is_relative_to(home) or target.parent in _blobs(home):
        return path
    raise UserError(f"{path} is a link out of the folder, to {target}; copy the file itself there")


def _windows(name: str) -> bool:
    """Return whether `name` leads out of a folder as Windows reads it."""
    path = PureWindowsPath(name)
    return bool(path.anchor) or ".." in path.parts


def _blobs(folder: Path) -> list[Path]:
    """Return the folder models--OWNER--NAME/blobs of the files of models--OWNER--NAME/snapshots/X, if any."""
    return [
        above.parent.parent / "blobs"
        for above in (folder, *folder.parents)
        if above.parent.name == "snapshots" and above.parent.parent.name.startswith("models--")
    ]
