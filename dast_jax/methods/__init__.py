"""Self-training methods, one small file each, named as in the config (`method.name`).

A method's module has `Options` (a frozen dataclass) and `make(pool, options, seed, tools)`.
"""

from __future__ import annotations

import importlib
from typing import Any

from dast_jax.methods.base import Method, ModelTools
from dast_jax.records import Pool

__all__ = ["METHODS", "Method", "ModelTools", "make_method"]

METHODS = (
    "adastar",
    "b_star",
    "dart_prop2diff",
    "dart_uniform",
    "dast",
    "dpo",
    "iterative_rpo",
    "rest_em",
    "rft",
    "sai_dpo",
    "sft",
    "star",
    "star_acc",
    "vrt",
)
"""The names of the methods, each the module of that name."""


def make_method(options: Any, pool: Pool, seed: int, tools: ModelTools | None = None) -> Method:
    """The method that `options` (an instance of its module's `Options`) configures, bound to `pool`.

    Raises `UserError` where pool and options do not fit each other.
    """
    return importlib.import_module(type(options).__module__).make(pool, options, seed, tools)
