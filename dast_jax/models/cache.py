"""Keys and values: as prefill returns them, and as decoding keeps them.

A prompt is kept once, in blocks of `prompt_block` positions, for all the responses that share it; a response
keeps only its own tokens. Keys have their positions last (`[…, H, C]`): products with them then run along
memory. Within a tick all slots write at the same place of a window, one slice for all of them; the window is
appended to what the slots keep when the tick ends.

One array per layer, not one for all layers: each is read and written in place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dast_jax.models.sharding import Laid, locally, on_one_cpu
from dast_jax.models.target import target_platform

__all__ = [
    "PROMPT_BLOCK",
    "KVCache",
    "Prompts",
    "Suffixes",
    "Window",
    "append",
    "blocked",
    "empty_prompts",
    "empty_suffixes",
    "empty_window",
    "prompt_block",
    "store_row",
    "suffix_block",
    "write",
]

PROMPT_BLOCK = 128
"""Prompt positions that one iteration of decode attention reads, at most."""

_SHORTEST_PROMPT_BLOCK = 32

_SUFFIX_BLOCKS = {"cpu": 16}
"""Response positions that one iteration reads, by platform: copies, on CPU, cost more than iterations."""


class KVCache(NamedTuple):
    """Rotated keys and values as prefill returns them: for each layer an array [B, KV, T, H]."""

    k: tuple[Float[Array, "B KV T H"], ...]
    v: tuple[Float[Array, "B KV T H"], ...]


class Prompts(NamedTuple):
    """Prompts in blocks of C positions, for each layer."""

    k: tuple[Float[Array, "P NB KV H C"], ...]
    v: tuple[Float[Array, "P NB KV C H"], ...]


class Suffixes(NamedTuple):
    """The responses' own keys and values in blocks of C positions, blocks before slots, for each layer."""

    k: tuple[Float[Array, "NB S KV H C"], ...]
    v: tuple[Float[Array, "NB S KV C H"], ...]


class Window(NamedTuple):
    """Keys and values of the W steps of one tick, for each layer."""

    k: tuple[Float[Array, "S KV H W"], ...]
    v: tuple[Float[Array, "S KV W H"], ...]


def prompt_block(longest: int) -> int:
    """Return the positions in a block of prompts, of which the longest has `longest`: half empty at most."""
    return min(PROMPT_BLOCK, max(_SHORTEST_PROMPT_BLOCK, 1 << (longest - 1).bit_length()))


def suffix_block(window: int) -> int:
    """Return the positions in a block of suffixes, a multiple of `window`: a window lies in one block."""
    return window * -(-_SUFFIX_BLOCKS.get(target_platform(), 64) // window)


def empty_prompts(layers: int, rows: int, kv_heads: int, length: int, head_dim: int, dtype: Any) -> Prompts:
    """Return zeroed prompts of up to `length` positions. Zeros, because what is masked must be finite."""
    block = prompt_block(length)
    return Prompts(*_zeros(layers, (rows, -(-length // block), kv_heads), block, head_dim, dtype))


def empty_suffixes(
    layers: int, slots: int, kv_heads: int, length: int, window: int, head_dim: int, dtype: Any
) -> Suffixes:
    """Return zeroed suffixes of up to `length` positions, appended to in windows of `window`."""
    block = suffix_block(window)
    return Suffixes(*_zeros(layers, (max(1, -(-length // block)), slots, kv_heads), block, head_dim, dtype))


def empty_window(layers: int, slots: int, kv_heads: int, window: int, head_dim: int, dtype: Any) -> Window:
    """Return a zeroed window of `window` steps."""
    return Window(*_zeros(layers, (slots, kv_heads), window, head_dim, dtype))


def _zeros(
    layers: int, lead: tuple[int, ...], positions: int, head_dim: int, dtype: Any
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    keys = tuple(jnp.zeros((*lead, head_dim, positions), dtype) for _ in range(layers))
    values = tuple(jnp.zeros((*lead, positions, head_dim), dtype) for _ in range(layers))
    return keys, values


def blocked(cache: KVCache, block: int) -> Prompts:
    """Return prefilled rows in blocks of `block` positions, the last one padded with zeros."""

    def blocks(array: Float[Array, "B KV T H"]) -> Float[Array, "B NB KV C H"]:
        batch, kv_heads, length, head_dim = array.shape
        array = jnp.pad(array, [(0, 0), (0, 0), (0, -length % block), (0, 0)])
        return jnp.moveaxis(array.reshape(batch, kv_heads, -1, block, head_dim), 2, 1)

    return Prompts(tuple(jnp.swapaxes(blocks(k), -1, -2) for k in cache.k), tuple(blocks(v) for v in cache.v))


def store_row(
    target: Prompts, target_row: Int[Array, ""], source: Prompts, source_row: Int[Array, ""]
) -> Prompts:
    """Return `target` with row `source_row` of `source` (not longer) over the start of row `target_row`."""

    def copy(to: Float[Array, "P NB KV X Y"], of: Float[Array, "B nb KV X Y"]) -> Float[Array, "P NB KV X Y"]:
        row = jax.lax.dynamic_slice_in_dim(of, source_row, 1, axis=0).astype(to.dtype)
        return jax.lax.dynamic_update_slice(to, row, (target_row, 0, 0, 0, 0))

    stored: Prompts = jax.tree.map(copy, target, source)
    return stored


def write(
    k: Float[Array, "S KV H W"],
    v: Float[Array, "S KV W H"],
    new_k: Float[Array, "S KV H"],
    new_v: Float[Array, "S KV H"],
    step: Int[Array, ""],
) -> tuple[Float[Array, "S KV H W"], Float[Array, "S KV W H"]]:
    """Return one layer of a window with the keys and values of step `step` (in place where XLA may)."""
    k = jax.lax.dynamic_update_slice(k, new_k[..., None].astype(k.dtype), (0, 0, 0, step))
    v = jax.lax.dynamic_update_slice(v, new_v[:, :, None].astype(v.dtype), (0, 0, step, 0))
    return k, v


def append(suffixes: Suffixes, window: Window, stored: Int[Array, " S"]) -> Suffixes:
    """Return `suffixes` with each slot's window behind its `stored` positions (a multiple of the window)."""
    kept = Laid(suffixes, (None, "batch", "kv_heads"))
    inputs = (kept, Laid(window, ("batch", "kv_heads")), Laid(stored, ("batch",)))
    appended: Suffixes = locally(_append, inputs, kept)
    return appended


def _append(suffixes: Suffixes, window: Window, stored: Int[Array, " S"]) -> Suffixes:
    width, block = window.k[0].shape[-1], suffixes.k[0].shape[-1]
    if not on_one_cpu():
        slots = jnp.arange(len(stored))[:, None]
        at = stored[:, None] + jnp.arange(width)
        return Suffixes(
            tuple(
                to.at[at // block, slots, :, :, at % block].set(jnp.moveaxis(new, -1, 1).astype(to.dtype))
                for to, new in zip(suffixes.k, window.k, strict=True)
            ),
            tuple(
                to.at[at // block, slots, :, at % block].set(jnp.moveaxis(new, 2, 1).astype(to.dtype))
                for to, new in zip(suffixes.v, window.v, strict=True)
            ),
        )

    # A loop over slots: XLA for CPU makes one over every position out of the scatter.
    def one(slot: Int[Array, ""], to: Suffixes) -> Suffixes:
        at = stored[slot]

        def place(to: Float[Array, "NB S KV X Y"], new: Float[Array, "S KV x y"], axis: int) -> Array:
            row = jax.lax.dynamic_slice_in_dim(new, slot, 1, axis=0)[None].astype(to.dtype)
            start: list[Any] = [at // block, slot, 0, 0, 0]
            start[axis] = at % block
            placed: Array = jax.lax.dynamic_update_slice(to, row, start)
            return placed

        return Suffixes(
            tuple(place(array, new, 4) for array, new in zip(to.k, window.k, strict=True)),
            tuple(place(array, new, 3) for array, new in zip(to.v, window.v, strict=True)),
        )

    placed: Suffixes = jax.lax.fori_loop(0, len(stored), one, suffixes)
    return placed
