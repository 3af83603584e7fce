"""Difficulty-aware self-training of language models, in JAX.

The names below are the public API. They are loaded on first use: importing the package loads no jax, as
verifier workers and the commands import it before they know whether they need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dast_jax.version import __version__

if TYPE_CHECKING:
    from dast_jax.config import RunConfig, load_config
    from dast_jax.inference.evaluate_model import evaluate_model
    from dast_jax.inference.options import EvaluateOptions, SampleOptions
    from dast_jax.inference.sample_prompts import sample_prompts
    from dast_jax.loop.selftrain import run
    from dast_jax.verifiers import Verifier

__all__ = [
    "EvaluateOptions",
    "RunConfig",
    "SampleOptions",
    "Verifier",
    "__version__",
    "evaluate_model",
    "load_config",
    "run",
    "sample_prompts",
]

_MODULES = {
    "EvaluateOptions": "dast_jax.inference.options",
    "RunConfig": "dast_jax.config",
    "SampleOptions": "dast_jax.inference.options",
    "Verifier": "dast_jax.verifiers",
    "evaluate_model": "dast_jax.inference.evaluate_model",
    "load_config": "dast_jax.config",
    "run": "dast_jax.loop.selftrain",
    "sample_prompts": "dast_jax.inference.sample_prompts",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
