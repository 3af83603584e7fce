"""The precision of matrix products."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["matmul_precision"]


def matmul_precision(dtype: np.dtype) -> jax.lax.Precision:
    """Return HIGHEST for float32 (TPU and GPU would round the operands otherwise), DEFAULT for the rest."""
    return jax.lax.Precision.HIGHEST if dtype == jnp.float32 else jax.lax.Precision.DEFAULT
