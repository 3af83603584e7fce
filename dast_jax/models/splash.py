"""Splash attention, the TPU kernel in `jax.experimental.pallas`, which skips blocks that are masked."""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float, Int

from dast_jax.models.blockwise import Rows

__all__ = ["splash_attention", "supports"]

_LANES = 128
_BLOCK = 512  # positions in a block of the kernel, at most


def supports(q: Float[Array, "B T N H"], k: Float[Array, "B T KV H"], rows: Rows) -> bool:
    """Return whether the kernel computes this: whole blocks of a row, and segments without parents."""
    return q.shape[1] % _LANES == 0 and q.shape[2] % k.shape[2] == 0 and rows.parents is None


def splash_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T KV H"],
    v: Float[Array, "B T KV H"],
    segment_ids: Int[Array, "B T"] | None,
    *,
    window: int | None = None,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """Return causal attention within segments; a window is measured in positions of the row.

    That is the same as in positions of the text, since without parents a segment is one text. `interpret`
    runs the kernel without a TPU, for tests.
    """
    length, heads, width = q.shape[1:]
    kernel = _kernel(length, heads, window, interpret)
    query, key, value = (x.swapaxes(1, 2) for x in (q * width**-0.5, k, v))
    if segment_ids is None:
        out = jax.vmap(kernel)(query, key, value)
    else:
        from jax.experimental.pallas.ops.tpu.splash_attention import SegmentIds

        out = jax.vmap(kernel)(query, key, value, SegmentIds(q=segment_ids, kv=segment_ids))
    attended: Array = out.swapaxes(1, 2)
    return attended


def _kernel(length: int, heads: int, window: int | None, interpret: bool) -> Any:
    """Return the kernel (q [N, T, H], k and v [KV, T, H], segments) → [N, T, H] of these shapes."""
    # Imported where it is needed: on the other platforms Pallas would only cost time at the start.
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        BlockSizes,
        CausalMask,
        LocalMask,
        MultiHeadMask,
        make_splash_mha_single_device,
    )

    shape = (length, length)
    one = CausalMask(shape) if window is None else LocalMask(shape, (window - 1, 0), 0)
    block = next(size for size in (_BLOCK, 256, _LANES) if length % size == 0)
    sizes = BlockSizes(
        block_q=block,
        block_kv=block,
        block_kv_compute=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_kv_dkv_compute=block,
        block_q_dq=block,
        block_kv_dq=block,
    )
    return make_splash_mha_single_device(MultiHeadMask([one] * heads), block_sizes=sizes, interpret=interpret)
