"""Adapters of low rank beside frozen weights: LoRA (arXiv 2106.09685).

A matrix W with an adapter computes x · W + scale · (x · A) · B, with A [in, r] and B [r, out]. B begins at
zero, so that a fresh adapter changes nothing. The adapters are parameters of the model like any other,
`lora_a` and `lora_b` beside each `kernel`; `split_adapters` separates what is trained from what is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dast_jax.models.options import LoraOptions
from dast_jax.models.sharding import param_shardings

__all__ = ["Lora", "add_product", "fresh_adapters", "join_adapters", "lora_of", "merged", "split_adapters"]

_LEAVES = ("lora_a", "lora_b")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The adapters of a model: their rank, the scale of their output, and the matrices that have one.

    `targets` are names of `llama.Layer`: q, k, v, o, gate, up, down.
    """

    rank: int
    scale: float
    targets: tuple[str, ...]


def lora_of(options: LoraOptions) -> Lora | None:
    """Return the adapters that `options` describe, None for rank 0."""
    if not options.rank:
        return None
    targets = tuple(target.removesuffix("_proj") for target in options.targets)
    return Lora(rank=options.rank, scale=options.alpha / options.rank, targets=targets)


def split_adapters(params: Any) -> tuple[Any, Any]:
    """Return the adapters of a parameter state, and all other parameters; no array is copied."""
    adapters, base = nnx.split_state(params, lambda path, _: path[-1] in _LEAVES, ...)
    return adapters, base


def join_adapters(adapters: Any, base: Any) -> Any:
    """Return the parameter state that `split_adapters` separated; no array is copied."""
    return nnx.merge_state(base, adapters)


def fresh_adapters(template: Any, *, seed: int, mesh: jax.sharding.Mesh | None = None) -> Any:
    """Return adapters that change nothing, in the shapes of `template` (the adapters of an abstract state).

    A is uniform within ± 1/√in, as PEFT draws it, by a key for each matrix; B is zero. Same seed, same bits,
    whatever the mesh.
    """
    flat = dict(nnx.to_flat_state(template))
    shardings = None if mesh is None else dict(nnx.to_flat_state(param_shardings(template, mesh)))

    def make(number: int, path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        shape, dtype = leaf.get_value().shape, leaf.get_value().dtype
        if path[-1] == "lora_b":
            return np.zeros(shape, dtype)
        bound = 1 / math.sqrt(math.prod(shape[1:-1]))
        drawn: np.ndarray = np.random.default_rng((seed, number)).uniform(-bound, bound, shape).astype(dtype)
        return drawn

    made: dict[Any, Any] = {}
    for number, (path, leaf) in enumerate(flat.items()):
        host = make(number, path, leaf)
        if shardings is None:
            made[path] = leaf.replace(jnp.asarray(host))
        else:
            target = shardings[path].get_value()
            made[path] = leaf.replace(jax.make_array_from_callback(host.shape, target, host.__getitem__))
    return nnx.from_flat_state(made)


def merged(params: Any, lora: Lora) -> Any:
    """Return the parameters without adapters, their products added to the kernels: W + scale · A · B.

    The product and the sum are float32, rounded once to the kernel's dtype.
    """
    adapters, base = split_adapters(params)
    return nnx.from_flat_state(merged_leaves(dict(nnx.to_flat_state(adapters)), base, lora))


def merged_leaves(adapters: Mapping[Any, Any], base: Any, lora: Lora) -> dict[Any, Any]:
    """Return the leaves of `base` by path, those with an adapter merged."""
    out: dict[Any, Any] = {}
    for path, leaf in nnx.to_flat_state(base):
        a, b = (adapters.get((*path[:-1], name)) for name in _LEAVES)
        if path[-1] != "kernel" or a is None or b is None:
            out[path] = leaf
        else:
            out[path] = leaf.replace(
                add_product(leaf.get_value(), a.get_value(), b.get_value(), scale=lora.scale)
            )
    return out


def add_product(
    kernel: Float[Array, "..."], a: Float[Array, "..."], b: Float[Array, "..."], *, scale: float
) -> Float[Array, "..."]:
    """Return kernel [L, in…, out…] + scale · a [L, in…, r] · b [L, r, out…], in the kernel's dtype.

    Computed in float32.
    """
    layers, rank = b.shape[:2]
    flat = a.astype(jnp.float32).reshape(layers, -1, rank), b.astype(jnp.float32).reshape(layers, rank, -1)
    product = jnp.matmul(*flat, precision=jax.lax.Precision.HIGHEST).reshape(kernel.shape)
    return (kernel.astype(jnp.float32) + scale * product).astype(kernel.dtype)
