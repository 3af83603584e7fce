"""A digest of everything that a model is read from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dast_jax.models.model_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    INDEX,
    SMALL_FILES,
    WEIGHTS,
    indexed_files,
)

__all__ = ["model_digest"]

_SUFFIXES = (".json", ".safetensors", ".model", ".jinja", ".txt", ".gguf")
"""Config, weights, tokenizers, chat templates; a README or another framework's weights may change."""


def model_digest(path: str | os.PathLike[str], adapter: str | os.PathLike[str] | None = None) -> str:
    """Return the SHA-256 of a .gguf file, or of the names and contents of a model folder's files.

    Those of an `adapter` that changes the model are counted too.

    Reads all weights once, about a second per gigabyte; they are then in the file system's cache for loading.
    """
    path = Path(path)
    files = [path] if path.is_file() else _files(path)
    if adapter is not None:
        files += [Path(adapter) / ADAPTER_CONFIG, Path(adapter) / ADAPTER_WEIGHTS]
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as content:
            part = hashlib.file_digest(content, "sha256").hexdigest()
        total.update(f"{file.name if file != path else ''} {part}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> list[Path]:
    """Return the files of a model, in order; in the hub's cache, where others add some, only those read."""
    if folder.parent.name != "snapshots":
        return sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES)
    index = folder / INDEX
    weights = [WEIGHTS] if (folder / WEIGHTS).is_file() or not index.is_file() else indexed_files(index)
    found = (path for name in (*SMALL_FILES, INDEX, *weights) for path in folder.glob(name))
    return sorted(path for path in found if path.is_file())
