"""Attention behind one function per phase; all platform differences are decided here."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

__all__ = ["attention", "matmul_precision"]

_MASKED = -1e30  # finite, so that a row with nothing to attend to gives numbers, not NaN


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T KV H"],
    v: Float[Array, "B T KV H"],
    segment_ids: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T N H"]:
    """Return causal attention within segments: softmax(q kᵀ / √H) v, the softmax in float32.

    Causality is by position in the row. Key/value head i serves the query heads i·N/KV … (i+1)·N/KV − 1.
    """
    batch, length, heads, head_dim = q.shape
    kv_heads = k.shape[2]
    grouped = q.reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    precision = matmul_precision(q.dtype)
    scores = jnp.einsum(
        "btkgh,bskh->bkgts", grouped, k, precision=precision, preferred_element_type=jnp.float32
    ) * (head_dim**-0.5)
    mask = jnp.tril(jnp.ones((length, length), bool))[None]
    if segment_ids is not None:
        mask = mask & (segment_ids[:, :, None] == segment_ids[:, None, :])
    scores = jnp.where(mask[:, None, None], scores, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    out = jnp.einsum("bkgts,bskh->btkgh", weights, v, precision=precision)
    return out.reshape(q.shape)


def matmul_precision(dtype: np.dtype) -> jax.lax.Precision:
    """Return HIGHEST for float32 (TPU and GPU would round the operands otherwise), DEFAULT for the rest."""
    return jax.lax.Precision.HIGHEST if dtype == jnp.float32 else jax.lax.Precision.DEFAULT
