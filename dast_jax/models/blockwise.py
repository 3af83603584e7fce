"""Causal attention in blocks, in plain XLA: its time follows the segments, its memory the row length.

Queries and keys are cut into blocks. A loop visits only the pairs of blocks in which some query sees some
key, so a packed row costs what its segments cost. The softmax is accumulated from block to block
(arXiv 1805.02867), and the backward pass computes each block's weights again from the saved logarithms
of the normalizers (arXiv 2205.14135), so neither pass holds an array of length × length.

The number of visits depends on the data, which a differentiated loop cannot: hence a custom gradient.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dast_jax.models.precision import matmul_precision

__all__ = ["Rows", "blockwise_attention", "visible"]

_MASKED = -1e30  # finite, so that a row with nothing to attend to gives numbers, not NaN


class Rows(NamedTuple):
    """What decides which keys a query sees, each int32 [B, T] or None.

    segments: keys of the query's own segment are seen; None is one segment a row. parents: keys of the
    segment of this number are seen as well (0 for none). positions: of each token in its text, by
    which a window is measured; None takes the position in the row.
    """

    segments: Int[Array, "B T"] | None = None
    parents: Int[Array, "B T"] | None = None
    positions: Int[Array, "B T"] | None = None


class _Plan(NamedTuple):
    """Static: block length, query heads per key head, window, and whether rows are visited together."""

    block: int
    groups: int
    window: int | None
    together: bool


def visible(
    queries: Rows, keys: Rows, query_at: Int[Array, " Q"], key_at: Int[Array, " K"], window: int | None
) -> Bool[Array, "*rows Q K"]:
    """Return which keys each query sees: earlier in the row, of its segment or its parent, in the window.

    `query_at` and `key_at` are the positions in the row; the arrays of `queries` and `keys` are [..., Q] and
    [..., K].
    """
    mask = query_at[:, None] >= key_at[None, :]
    if queries.segments is not None and keys.segments is not None:
        same = queries.segments[..., :, None] == keys.segments[..., None, :]
        if queries.parents is not None:
            # A query without a parent has 0 there, which is the segment of the padding: later in the row.
            same = same | (queries.parents[..., :, None] == keys.segments[..., None, :])
        mask = mask & same
    if window is not None:
        ours = query_at if queries.positions is None else queries.positions
        theirs = key_at if keys.positions is None else keys.positions
        mask = mask & (ours[..., :, None] - theirs[..., None, :] < window)
    return mask


def blockwise_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T KV H"],
    v: Float[Array, "B T KV H"],
    rows: Rows,
    *,
    window: int | None = None,
    block: int = 64,
    together: bool = False,
) -> Float[Array, "B T N H"]:
    """Return the causal attention of `attention.attention`, a pair of blocks at a time.

    `block` is the number of positions in a block. Each row visits its own pairs of blocks, one row
    after another, unless `together`: then all rows visit every pair that one of them needs, in fewer, larger
    products, for a device that runs many operations at once.
    """
    length, groups = q.shape[1], q.shape[2] // k.shape[2]
    block = min(block, -(-length // 8) * 8)
    plan = _Plan(block, groups, window, together)
    padded = jax.tree.map(lambda x: _pad(jnp.asarray(x), block), (q, k, v, rows))
    out: Array = _attend(*padded, plan)
    return out[:, :length]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q: Array, k: Array, v: Array, rows: Rows, plan: _Plan) -> Array:
    return _forward(q, k, v, rows, plan)[0]


def _attend_forward(q: Array, k: Array, v: Array, rows: Rows, plan: _Plan) -> Any:
    out, normalizers = _forward(q, k, v, rows, plan)
    return out, (q, k, v, rows, out, normalizers)


def _attend_backward(plan: _Plan, saved: Any, gradient: Array) -> Any:
    q, k, v, rows, out, normalizers = saved
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, jax.dtypes.float0), rows)
    return *_backward(q, k, v, rows, out, normalizers, gradient, plan), zeros


_attend.defvjp(_attend_forward, _attend_backward)


def _forward(q: Array, k: Array, v: Array, rows: Rows, plan: _Plan) -> tuple[Array, Array]:
    """Return the attention [B, T, N, H], and the logarithms of the normalizers [blocks, R, KV, G·block]."""
    queries, keys, values = _cut(q, plan.groups, plan), _cut(k, 1, plan), _cut(v, 1, plan)
    cut = _cut_rows(rows, plan)
    scale, precision = q.shape[-1] ** -0.5, matmul_precision(q.dtype)
    visits, count = _visits(cut, plan, q.shape[1] // plan.block, len(queries))

    def visit(index: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, j = visits[index]
        top, total, out = state
        scores = _scores(queries[i], keys[j], _mask(cut, i, j, plan), scale, plan)
        new_top = jnp.maximum(top[i], jnp.max(scores, axis=-1))
        weights = jnp.exp(scores - new_top[..., None])
        shrink = jnp.exp(top[i] - new_top)
        added = _dot(weights.astype(v.dtype), values[j], (3, 2), precision)
        return (
            top.at[i].set(new_top),
            total.at[i].set(total[i] * shrink + jnp.sum(weights, axis=-1)),
            out.at[i].set(out[i] * shrink[..., None] + added),
        )

    shape = queries.shape[:-1]
    state = (jnp.full(shape, _MASKED), jnp.zeros(shape), jnp.zeros(queries.shape, jnp.float32))
    with jax.named_scope("attention_blocks"):
        top, total, out = jax.lax.fori_loop(0, count, visit, state)
    safe = jnp.where(total > 0, total, 1.0)  # a block of padding is never visited
    out = (out / safe[..., None]).astype(q.dtype)
    return _join(out, q.shape, plan), top + jnp.log(safe)


def _backward(
    q: Array, k: Array, v: Array, rows: Rows, out: Array, normalizers: Array, gradient: Array, plan: _Plan
) -> tuple[Array, Array, Array]:
    """Return the gradients of q, k and v."""
    queries, keys, values = _cut(q, plan.groups, plan), _cut(k, 1, plan), _cut(v, 1, plan)
    outer = _cut(gradient, plan.groups, plan)
    deltas = _cut(
        jnp.sum(gradient.astype(jnp.float32) * out.astype(jnp.float32), axis=-1, keepdims=True),
        plan.groups,
        plan,
    )[..., 0]
    cut = _cut_rows(rows, plan)
    scale, precision = q.shape[-1] ** -0.5, matmul_precision(q.dtype)
    visits, count = _visits(cut, plan, q.shape[1] // plan.block, len(queries))

    def visit(index: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, j = visits[index]
        at_q, at_k, at_v = state
        scores = _scores(queries[i], keys[j], _mask(cut, i, j, plan), scale, plan)
        weights = jnp.exp(scores - normalizers[i][..., None])
        at_weights = _dot(outer[i], values[j], (3, 3), precision)
        at_scores = (weights * (at_weights - deltas[i][..., None]) * scale).astype(q.dtype)
        return (
            at_q.at[i].add(_dot(at_scores, keys[j], (3, 2), precision)),
            at_k.at[j].add(_dot(at_scores, queries[i], (2, 2), precision)),
            at_v.at[j].add(_dot(weights.astype(v.dtype), outer[i], (2, 2), precision)),
        )

    zeros = functools.partial(jnp.zeros, dtype=jnp.float32)
    state = zeros(queries.shape), zeros(keys.shape), zeros(values.shape)
    with jax.named_scope("attention_blocks"):
        at_q, at_k, at_v = jax.lax.fori_loop(0, count, visit, state)

    def joined(gradient: Array, x: Array) -> Array:
        return _join(gradient.astype(x.dtype), x.shape, plan)

    return joined(at_q, q), joined(at_k, k), joined(at_v, v)


def _dot(a: Array, b: Array, contracted: tuple[int, int], precision: jax.lax.Precision) -> Array:
    """Return the products [R, KV, ...] of [R, KV, ...] arrays over one axis of each, float32."""
    batch = ((0, 1), (0, 1))
    return jax.lax.dot_general(
        a,
        b,
        (((contracted[0],), (contracted[1],)), batch),
        precision=precision,
        preferred_element_type=jnp.float32,
    )


def _scores(q: Array, k: Array, mask: Bool[Array, "R Q K"], scale: float, plan: _Plan) -> Array:
    """Return the masked scores [R, KV, G·block, block] of a block of queries against one of keys."""
    scores = _dot(q, k, (3, 3), matmul_precision(q.dtype)) * scale
    grouped = scores.reshape(*scores.shape[:2], plan.groups, plan.block, plan.block)
    return jnp.where(mask[:, None, None], grouped, _MASKED).reshape(scores.shape)


def _mask(cut: Rows, i: Array, j: Array, plan: _Plan) -> Bool[Array, "R Q K"]:
    """Return which of block j's keys the queries of block i see."""
    queries, keys = (jax.tree.map(lambda x, at=at: x[at], cut) for at in (i, j))
    at = jnp.arange(plan.block)
    # i and j are blocks of one row, so their difference places them to each other.
    mask = visible(queries, keys, at + (i - j) * plan.block, at, plan.window)
    return jnp.broadcast_to(mask, (mask.shape[0] if mask.ndim == 3 else 1, plan.block, plan.block))


def _visits(cut: Rows, plan: _Plan, per_row: int, blocks: int) -> tuple[Int[Array, "V 2"], Int[Array, ""]]:
    """Return the pairs (block of queries, block of keys) to visit, row by row and in order; and their number.

    A pair is left out when the ranges of segments, parents and positions show that no query sees a key;
    blocks of padding alone (segment 0) are left out whole.
    """
    i, j = np.tril_indices(per_row)
    start = np.arange(0, blocks, per_row)[:, None]
    pairs = np.stack([(start + x).reshape(-1) for x in (i, j)], axis=-1).astype(np.int32)
    if cut.segments is None and plan.window is None:
        return jnp.asarray(pairs), jnp.int32(len(pairs))
    i, j = pairs.T
    needed: Array = jnp.ones((len(pairs), 1), bool)
    if cut.segments is not None:
        low, high = _range(cut.segments)
        needed = (low[i] <= high[j]) & (low[j] <= high[i])
        if cut.parents is not None:
            from_low, from_high = _range(cut.parents)
            needed = needed | ((from_low[i] <= high[j]) & (low[j] <= from_high[i]))
    if plan.window is not None:
        if cut.positions is None:
            near = jnp.asarray((i - j) * plan.block - (plan.block - 1) < plan.window)[:, None]
        else:
            near = jnp.min(cut.positions, -1)[i] - jnp.max(cut.positions, -1)[j] < plan.window
        needed = needed & near
    needed = jnp.any(needed, axis=-1)
    order = jnp.nonzero(needed, size=len(pairs), fill_value=0)[0]
    return jnp.asarray(pairs)[order], jnp.sum(needed, dtype=jnp.int32)


def _range(numbers: Int[Array, "blocks R block"]) -> tuple[Array, Array]:
    """Return the least and the largest number in each block but 0; an empty range where all are 0."""
    present = numbers > 0
    low = jnp.min(jnp.where(present, numbers, np.iinfo(np.int32).max), axis=-1)
    return low, jnp.max(jnp.where(present, numbers, -1), axis=-1)


def _pad(x: Float[Array, "B T ..."] | Int[Array, "B T"], block: int) -> Array:
    """Return `x` with T padded by zeros to whole blocks."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % block)) + ((0, 0),) * (x.ndim - 2))


def _cut(x: Float[Array, "B T heads H"], groups: int, plan: _Plan) -> Float[Array, "blocks R KV rows H"]:
    """Return the blocks, the `groups` query heads of one key head under each other: rows = groups · block."""
    batch, length, heads, width = x.shape
    blocks = length // plan.block
    split = x.reshape(batch, blocks, plan.block, heads // groups, groups, width).transpose(0, 1, 3, 4, 2, 5)
    split = split.reshape(batch, blocks, heads // groups, groups * plan.block, width)
    return split.swapaxes(0, 1) if plan.together else split.reshape(batch * blocks, 1, *split.shape[2:])


def _cut_rows(rows: Rows, plan: _Plan) -> Rows:
    """Return the arrays of `rows` as blocks [blocks, R, block]."""

    def cut(x: Array) -> Array:
        split = x.reshape(len(x), -1, plan.block)
        return split.swapaxes(0, 1) if plan.together else split.reshape(-1, 1, plan.block)

    blocks: Rows = jax.tree.map(cut, rows)
    return blocks


def _join(x: Float[Array, "blocks R KV rows H"], shape: tuple[int, ...], plan: _Plan) -> Array:
    """Return blocks as `_cut` makes them in the shape [B, T, heads, H]."""
    batch, length, heads, width = shape
    kv = x.shape[2]
    split = x.swapaxes(0, 1) if plan.together else x
    split = split.reshape(batch, length // plan.block, kv, heads // kv, plan.block, width)
    return split.transpose(0, 1, 4, 2, 3, 5).reshape(shape)
