"""Files that are either whole or absent: temporary file, fsync, rename; and a lock for one writer."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dast_jax.errors import InterruptedRunError, UserError, disk_full

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FolderLock",
    "atomic_write",
    "read_arrays",
    "read_json",
    "remove_leftovers",
    "write_arrays",
    "write_json",
    "write_parquet",
    "write_text",
]

_TEMPORARY = ".partial"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file to write, which becomes `path` durably at the end of the block, unless that raises.

    Raises `InterruptedRunError` when the disk is full, which leaves what was at `path` before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        if disk_full(error) is None:
            raise
        raise InterruptedRunError(
            f"disk full (writing {path}); free space and run the same command to resume"
        ) from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_leftovers(folder: Path) -> int:
    """Delete the temporary files that a killed writer left anywhere under `folder`; returns how many."""
    leftovers = list(folder.rglob(f".*{_TEMPORARY}"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


# --- formats ----------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "replace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically; numpy values become plain ones, numbers that are not finite null."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; `UserError` when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error


def plain(value: Any) -> Any:
    """`value` in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays (numbers or text, no objects) as `.npz`, atomically."""
    objects = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if objects:
        raise TypeError(f"{path}: arrays of Python objects cannot be kept: {', '.join(objects)}")
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays that `write_arrays` wrote; `UserError` when the file is missing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table, atomically."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


# --- lock -------------------------------------------------------------------------------------------


class FolderLock:
    """Keeps a second process out of a folder; the kernel releases it however the holder dies."""

    def __init__(self, folder: Path):
        """Take the lock, or raise a `UserError` that names the process which has it."""
        self._file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (held until `close`)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise UserError(
                f"{folder}: another process (pid {holder}) is working on this run; wait for it or stop it"
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
