"""The version of the package, and those of what results depend on."""

from __future__ import annotations

__all__ = ["__version__", "installed_versions"]

__version__ = "0.1.0"

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy", "math-verify")


def installed_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of the packages that results depend on."""
    import importlib.metadata  # here, since the package itself is imported for less
    import platform

    versions = {"python": platform.python_version(), "dast_jax": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
