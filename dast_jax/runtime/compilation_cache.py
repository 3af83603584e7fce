"""A folder for the programs that XLA compiles, so that the next start reads them instead.

JAX keys an entry by the program, its own version, the devices and the compiler's flags, writes it under a
temporary name, and treats one that cannot be read or written as missing, with a warning. What it does not key
is the instruction set of the CPU, so each has a folder here: a home may be shared by several machines.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

__all__ = ["use_compilation_cache"]

_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # by default, programs under a second are left out
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(4 * 2**30),  # bytes; the entries used least recently go first
}


def use_compilation_cache() -> Path | None:
    """Let JAX keep compiled programs in the user's cache folder; return it, None where there is none.

    Call it before jax is imported: it sets JAX's environment variables. Nothing changes where
    `JAX_COMPILATION_CACHE_DIR` is set, also to nothing, which turns the cache off; and where the folder
    cannot be written, as with a read-only home.
    """
    if _VARIABLE in os.environ:
        return None
    folder = _folder()
    if folder is None:
        return None
    os.environ[_VARIABLE] = str(folder)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    return folder


def _folder() -> Path | None:
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "dast_jax" / f"compiled-{_instruction_set()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _instruction_set() -> str:
    """Return a short name of the CPU's instruction set: on Linux, a digest of its feature flags."""
    text = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            text += next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        pass
    return hashlib.sha256(text.encode()).hexdigest()[:12]
