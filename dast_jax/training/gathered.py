"""A state that lies on several processes as arrays of process 0, and back.

For checkpoints where the processes share no file system: process 0 alone writes and reads them, and its host
needs memory for the whole state. Arrays travel through collectives, in pieces, with their bits as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dast_jax.distributed.group import broadcast, leads

__all__ = ["gather", "spread"]

_PIECE_BYTES = 2**28


def gather(tree: Any, *, piece_bytes: int = _PIECE_BYTES) -> Any:
    """Return `tree`, of jax arrays, with copies of the whole arrays on process 0; None on the others.

    All processes have to call it. A piece takes `piece_bytes` on every device, or as much as an array whose
    first axis is split or longer.
    """
    whole = jax.tree.map(lambda x: _gathered(x, piece_bytes), tree)
    return whole if leads() else None


def spread(tree: Any, like: Any, *, piece_bytes: int = _PIECE_BYTES) -> Any:
    """Return the arrays of process 0's `tree` laid out like `like`; on the others `tree` is not read.

    `like` holds arrays or `jax.ShapeDtypeStruct`s with shardings, the same on all processes, all of which
    have to call it. Raises `ValueError` where an array has another shape or dtype than there.
    """
    targets, structure = jax.tree.flatten(like)
    arrays = jax.tree.leaves(tree) if leads() else [None] * len(targets)
    pairs = zip(arrays, targets, strict=True)
    return jax.tree.unflatten(structure, [_spread(array, target, piece_bytes) for array, target in pairs])


def _gathered(x: jax.Array, piece_bytes: int) -> np.ndarray | None:
    if x.is_fully_replicated:
        return np.array(x.addressable_data(0)) if leads() else None
    whole = np.empty(x.shape, x.dtype) if leads() else None
    for begin, size in _pieces(x.shape, x.nbytes, piece_bytes, split=_first_axis_is_split(x)):
        piece = x if size == x.shape[0] else jax.lax.dynamic_slice_in_dim(x, begin, size)
        found = multihost_utils.process_allgather(piece, tiled=True)
        if whole is not None:
            whole[begin : begin + size] = found
    return whole


def _spread(array: np.ndarray | None, target: Any, piece_bytes: int) -> jax.Array:
    shape, dtype = target.shape, np.dtype(target.dtype)
    if array is not None and (array.shape != shape or array.dtype != dtype):
        raise ValueError(f"expected {dtype} {shape}, got {array.dtype} {array.shape}")
    whole = np.empty(shape, dtype) if array is None else np.asarray(array, order="C")
    flat = whole.reshape(-1).view(np.uint8)
    for begin in range(0, flat.size, piece_bytes):
        piece = flat[begin : begin + piece_bytes]
        content = broadcast(None if array is None else piece.tobytes(), piece.size)
        if array is None:
            piece[:] = np.frombuffer(content, np.uint8)
    return jax.make_array_from_callback(shape, target.sharding, lambda index: whole[index])


def _first_axis_is_split(x: jax.Array) -> bool:
    return x.sharding.shard_shape(x.shape)[0] != x.shape[0]


def _pieces(
    shape: tuple[int, ...], nbytes: int, piece_bytes: int, *, split: bool
) -> Iterator[tuple[int, int]]:
    """Yield the begin and size of the pieces of the first axis, all of one size but the last."""
    rows = shape[0]
    size = rows if split else max(1, min(rows, piece_bytes * rows // max(nbytes, 1)))
    for begin in range(0, rows, size):
        yield begin, min(size, rows - begin)
