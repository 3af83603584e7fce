"""Files that are either whole or absent: temporary file, fsync, rename; and a lock for one writer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from dast_jax.errors import InterruptedRunError, UserError, disk_full

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FolderLock",
    "atomic_write",
    "file_digest",
    "name_matches",
    "read_arrays",
    "read_json",
    "remove_leftovers",
    "set_aside",
    "write_arrays",
    "write_json",
    "write_named_parquet",
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
    if os.name == "nt":  # where folders cannot be opened, nor need it
        return
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


def set_aside(path: Path) -> None:
    """Rename a damaged file so that nothing reads it and a person can look at it."""
    if path.exists():
        target = path.with_name(path.name + ".damaged")
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)


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
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore it from a copy") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); restore it from a copy") from error


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
    """Return the arrays that `write_arrays` wrote; `UserError` when the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, SyntaxError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not readable as arrays ({error}); restore it from a copy") from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table, atomically."""
    _write_bytes(path, _parquet(table))


def write_named_parquet(folder: Path, stem: str, table: pa.Table) -> Path:
    """Write a table as `folder`/STEM-DIGEST.parquet, atomically; return the path.

    The digest is that of the file. So a file that belongs to no finished stage yet, and is therefore not in
    the manifest, can be checked too (`name_matches`).
    """
    content = _parquet(table)
    digest = hashlib.sha256(content).hexdigest()[:_NAMED_DIGITS]
    path = folder / f"{stem}-{digest}.parquet"
    _write_bytes(path, content)
    return path


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


# --- digests ----------------------------------------------------------------------------------------

_NAMED_DIGITS = 16
_DIGEST_IN_NAME = re.compile(rf"-([0-9a-f]{{{_NAMED_DIGITS}}})\.parquet$")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits. Raises `OSError` where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_matches(path: Path) -> bool | None:
    """Return whether a file is the one that its name has the digest of; None for a name without one."""
    named = _DIGEST_IN_NAME.search(path.name)
    if named is None:
        return None
    try:
        return file_digest(path).startswith(named[1])
    except OSError:
        return False


# --- lock -------------------------------------------------------------------------------------------


class FolderLock:
    """Keeps a second process out of a folder; the kernel releases it however the holder dies."""

    def __init__(self, folder: Path):
        """Take the lock, or raise a `UserError` that names the process which has it."""
        self._lock = FileLock(folder / ".lock")
        holder = folder / ".lock-holder"  # a file of its own: Windows lets nobody else read a locked one
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            pid = holder.read_text(encoding="utf-8").strip() if holder.is_file() else ""
            raise UserError(
                f"{folder}: another process (pid {pid or 'unknown'}) is working on this run; wait for it or "
                "stop it"
            ) from error
        holder.write_text(str(os.getpid()), encoding="utf-8")

    def close(self) -> None:
        """Release the lock, once."""
        self._lock.release()
