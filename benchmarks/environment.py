"""A Python that has a peer's packages: this one, or an environment of its own in the user's cache folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["cache_folder", "peer_python"]

PACKAGES = {
    "transformers": {"transformers": "transformers", "torch": "torch==2.13.0"},
    "trl": {"trl": "trl==1.16.0", "torch": "torch==2.13.0"},
    "tunix": {"tunix": "google-tunix==0.1.5"},
}
"""Peer → module to import → what pip installs, besides the pins of constraints.txt."""


def cache_folder() -> Path:
    """Return the folder of models and environments of the benchmarks."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "dast_jax" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def peer_python(peer: str) -> str:
    """Return the interpreter for `peer`; make the environment where this one lacks a package, and say so."""
    packages = PACKAGES[peer.removesuffix("-shared")]
    if all(importlib.util.find_spec(module) for module in packages):
        return sys.executable
    folder = (
        cache_folder() / f"venv-{peer.removesuffix('-shared')}-{sys.version_info[0]}{sys.version_info[1]}"
    )
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if not done.exists():
        print(f"installing {', '.join(packages.values())} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        constraints = Path(__file__).resolve().parent.parent / "constraints.txt"
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run(
            [*install, "-c", str(constraints), *packages.values(), "numpy"], check=True, stdout=sys.stderr
        )
        done.touch()
    return str(python)
