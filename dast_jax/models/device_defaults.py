"""Options of the model that follow the device where they are "auto". No jax here."""

from __future__ import annotations

import dataclasses

from dast_jax.models.options import ModelOptions

__all__ = ["resolved"]

_CHOSEN = {"cpu": {"compute_dtype": "float32", "remat": "none"}}
_ON_ACCELERATORS = {"compute_dtype": "bfloat16", "remat": "full"}


def resolved(options: ModelOptions, platform: str) -> ModelOptions:
    """Return `options` with a value for each that is "auto", by the platform of the mesh's devices.

    On a CPU products are float32 and activations are kept; elsewhere products are bfloat16, which is what
    accelerators are fast in, and activations are computed again, which is what makes long rows fit.
    """
    chosen = _CHOSEN.get(platform, _ON_ACCELERATORS)
    left = {name: value for name, value in chosen.items() if getattr(options, name) == "auto"}
    return dataclasses.replace(options, **left)
