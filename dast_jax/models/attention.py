"""Attention behind one function per phase; all platform differences are decided here."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from dast_jax.models import splash
from dast_jax.models.blockwise import Rows, blockwise_attention, visible
from dast_jax.models.sharding import partition_spec
from dast_jax.models.target import target_platform

__all__ = ["attention", "block_length"]

_BLOCK, _PACKED_ON_CPU = 128, 64


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T KV H"],
    v: Float[Array, "B T KV H"],
    segment_ids: Int[Array, "B T"] | None = None,
    *,
    parents: Int[Array, "B T"] | None = None,
    positions: Int[Array, "B T"] | None = None,
    window: int | None = None,
) -> Float[Array, "B T N H"]:
    """Return causal attention within segments: softmax(q kᵀ / √H) v, the softmax in float32.

    Causality is by position in the row. Key/value head i serves the query heads i·N/KV … (i+1)·N/KV − 1.
    A query sees the keys of its segment, and of the segment that `parents` names (0: none); with `window`,
    only those less than that many `positions` back (positions in the row where None). Segment 0 is
    padding, whose result is finite and otherwise undefined.

    How it is computed depends on the platform of the mesh: splash attention on TPU, cuDNN's flash attention
    on GPU, each where shapes and types allow, and otherwise blocks in plain XLA; nowhere an array of
    length × length in float32. Under `jax.set_mesh`, each device computes its own rows and heads.
    """
    rows = Rows(segment_ids, parents, positions if window is not None else None)
    mesh = jax.sharding.get_abstract_mesh()
    platform = target_platform()
    if mesh.empty or mesh.size == 1 or mesh._any_axis_manual:
        return _on_one(q, k, v, rows, window=window, platform=platform)
    heads = partition_spec(q.shape, ("batch", None, "heads", None), mesh)
    if len(heads) > 2 and len(partition_spec(k.shape, ("batch", None, "kv_heads", None), mesh)) < 3:
        # The mesh divides the query heads only: with a copy of k and v for each, it divides those too.
        k, v = (jnp.repeat(x, q.shape[2] // k.shape[2], axis=2) for x in (k, v))
    spec = P(*heads[:1])
    local = functools.partial(_on_one, window=window, platform=platform)
    sharded: Array = jax.shard_map(
        local,
        in_specs=(heads, heads, heads, jax.tree.map(lambda _: spec, rows)),
        out_specs=heads,
        check_vma=False,
    )(q, k, v, rows)
    return sharded


def _on_one(q: Array, k: Array, v: Array, rows: Rows, *, window: int | None, platform: str) -> Array:
    """Return the attention of the rows and heads of one device."""
    if platform == "tpu" and splash.supports(q, k, rows):
        return splash.splash_attention(q, k, v, rows.segments, window=window)
    if platform == "gpu" and _cudnn_supports(q):
        at = jnp.arange(q.shape[1])
        mask = visible(rows, rows, at, at, window)
        mask = mask[:, None] if mask.ndim == 3 else mask[None, None]
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn")
    block = block_length(platform, packed=rows.segments is not None)
    return blockwise_attention(q, k, v, rows, window=window, block=block, together=platform != "cpu")


def block_length(platform: str, *, packed: bool) -> int:
    """Return the positions in a block of plain XLA: on CPU, short segments fill short blocks."""
    return _PACKED_ON_CPU if packed and platform == "cpu" else _BLOCK


def _cudnn_supports(q: Float[Array, "B T N H"]) -> bool:
    """Return whether cuDNN has a flash kernel with a mask and a gradient for this type and shape."""
    _, length, _, width = q.shape
    return q.dtype in (jnp.bfloat16, jnp.float16) and width % 8 == 0 and width <= 128 and length % 2 == 0
