"""The rows of the embedding table at given tokens, and the table's gradient, each device keeping its parts.

Left to itself, the compiler gathers the table over the vocabulary's parts, or the rows of all devices on
each of them, where `data` splits the rows and `fsdp` both the rows and the table's columns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from dast_jax.models.sharding import axis_names, partition_spec

__all__ = ["rows_of"]


class _Layout(NamedTuple):
    """How rows and table lie: the mesh axes that split rows, vocabulary and columns; a part's shape."""

    rows: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    part: tuple[int, ...] = ()


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def rows_of(
    table: Float[Array, "V D"], tokens: Int[Array, "*rows"], dtype: np.dtype
) -> Float[Array, "*rows D"]:
    """Return table[tokens] in `dtype`.

    Its gradient in the table is laid out only when that of the rows is known: XLA for CPU would set it to
    zero before the backward pass of the layers begins.
    """
    split, rows, layout = _layout(table, tokens)
    local = functools.partial(_looked_up, dtype=dtype, layout=layout)
    found: Array = _on_mesh(local, (split, rows), rows)(table, tokens)
    return found


def _forward(table: Array, tokens: Array, dtype: np.dtype) -> tuple[Array, tuple[Array, Array]]:
    return rows_of(table, tokens, dtype), (table, tokens)


def _backward(dtype: np.dtype, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, np.ndarray]:
    table, tokens = saved
    split, rows, layout = _layout(table, tokens)
    local = functools.partial(_summed, dtype=table.dtype, layout=layout)
    summed: Array = _on_mesh(local, (rows, rows), split)(gradient, tokens)
    return summed, np.zeros(tokens.shape, jax.dtypes.float0)


rows_of.defvjp(_forward, _backward)


def _layout(table: Float[Array, "V D"], tokens: Int[Array, "*rows"]) -> tuple[P, P, _Layout]:
    """Return the partitions of the table and of the rows, and the layout that they make up."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh._any_axis_manual:
        return P(), P(), _Layout(part=table.shape)
    split = partition_spec(table.shape, ("vocab", "embed"), mesh)
    rows = partition_spec(tokens.shape, ("batch", *(None,) * (tokens.ndim - 1)), mesh)
    (of_rows,), (vocabulary, columns) = axis_names(rows, 1), axis_names(split, 2)
    ways = (math.prod(mesh.shape[name] for name in names) for names in (vocabulary, columns))
    part = tuple(n // w for n, w in zip(table.shape, ways, strict=True))
    return split, rows, _Layout(of_rows, vocabulary, columns, part)


def _on_mesh(local: Callable[..., Array], inputs: tuple[P, P], output: P) -> Any:
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh._any_axis_manual:
        return local
    return jax.shard_map(local, in_specs=inputs, out_specs=output, check_vma=False)


def _looked_up(table: Array, tokens: Array, *, dtype: np.dtype, layout: _Layout) -> Array:
    """Return a device's rows: its columns of the rows of all that share them, exchanged for the others."""
    for axis in layout.columns:
        tokens = jax.lax.all_gather(tokens, axis, tiled=True) if axis in layout.rows else tokens
    if layout.vocabulary:
        at = _numbered(tokens, layout)
        mine = at < layout.part[0]
        rows = jnp.where(mine[..., None], table[jnp.where(mine, at, 0)].astype(dtype), 0)
        rows = jax.lax.psum(rows, layout.vocabulary)
    else:
        rows = table[tokens].astype(dtype)
    for axis in reversed(layout.columns):
        last = rows.ndim - 1
        if axis in layout.rows:
            rows = jax.lax.all_to_all(rows, axis, 0, last, tiled=True)
        else:
            rows = jax.lax.all_gather(rows, axis, axis=last, tiled=True)
    return rows


def _summed(gradient: Array, tokens: Array, *, dtype: np.dtype, layout: _Layout) -> Array:
    """Return the gradient of a device's part of the table, in `dtype`."""
    last = gradient.ndim - 1
    for axis in layout.columns:
        if axis in layout.rows:
            gradient = jax.lax.all_to_all(gradient, axis, last, 0, tiled=True)
            tokens = jax.lax.all_gather(tokens, axis, tiled=True)
        else:
            size = gradient.shape[last] // jax.lax.axis_size(axis)
            gradient = jax.lax.dynamic_slice_in_dim(gradient, jax.lax.axis_index(axis) * size, size, last)
    gradient = gradient.astype(dtype)
    # Always zero, which the compiler does not know: that makes the table wait.
    zero = jnp.where(gradient[(0,) * gradient.ndim] > jnp.inf, 1.0, 0.0).astype(dtype)
    at = _numbered(tokens, layout) if layout.vocabulary else tokens
    summed = jnp.full(layout.part, zero).at[at].add(gradient, mode="drop" if layout.vocabulary else None)
    others = tuple(axis for axis in layout.rows if axis not in layout.columns)
    return jax.lax.psum(summed, others) if others else summed


def _numbered(tokens: Int[Array, "*rows"], layout: _Layout) -> Int[Array, "*rows"]:
    """Return the tokens as rows of a device's part of the vocabulary, those of other parts out of range."""
    size = layout.part[0]
    at = tokens - jax.lax.axis_index(layout.vocabulary) * size
    return jnp.where(at < 0, size, at)
