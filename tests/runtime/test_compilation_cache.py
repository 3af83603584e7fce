"""Commands keep compiled programs in the user's cache folder, unless told otherwise or unable to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dast_jax.runtime.compilation_cache import use_compilation_cache

CODE = """
from dast_jax.cli.command import command
@command
def main(argv=None):
    import jax, jax.numpy as jnp
    print(float(jax.jit(lambda x: x * 2 + 1)(jnp.float32(3))))
raise SystemExit(main([]))
"""


def _run(home: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_", "XLA_"))}
    clean |= {"HOME": str(home), "JAX_PLATFORMS": "cpu"} | environment
    found = subprocess.run(
        [sys.executable, "-c", CODE], env=clean, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def _entries(home: Path) -> list[Path]:
    return list((home / ".cache" / "dast_jax").glob("compiled-*/*-cache"))


def test_programs_are_kept_read_again_and_compiled_again_where_damaged(tmp_path):
    assert _run(tmp_path) == "7.0"
    kept = {entry: entry.stat().st_mtime_ns for entry in _entries(tmp_path)}
    assert kept
    assert _run(tmp_path) == "7.0"
    assert {entry: entry.stat().st_mtime_ns for entry in _entries(tmp_path)} == kept
    for entry in kept:
        entry.write_bytes(entry.read_bytes()[:20])
    assert _run(tmp_path) == "7.0"


def test_an_own_folder_is_left_alone(tmp_path):
    assert _run(tmp_path / "home", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own")) == "7.0"
    assert not _entries(tmp_path / "home")


@pytest.mark.parametrize("home", ["/proc/none", "file"])
def test_a_home_that_cannot_be_written_is_no_error(tmp_path, home, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / home))  # an absolute path replaces tmp_path
    before = dict(os.environ)
    assert use_compilation_cache() is None
    assert dict(os.environ) == before
