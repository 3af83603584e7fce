"""Self-training methods, one small file each, named as in the config (`method.name`).

A method's module has `Options` (a frozen dataclass) and `make(pool, options, seed)`.
"""

from __future__ import annotations

import importlib
from typing import Any

from dast_jax.methods.base import Method
from dast_jax.records import Pool

__all__ = ["Method", "make_method"]


def make_method(options: Any, pool: Pool, seed: int) -> Method:
    """The method that `options` (an instance of its module's `Options`) configures, bound to `pool`."""
    return importlib.import_module(type(options).__module__).make(pool, options, seed)
