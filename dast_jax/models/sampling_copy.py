"""The weights as the sampler holds them: in its layout, in the dtype of the products, adapters merged."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from dast_jax.models.lora import Lora, add_product, split_adapters
from dast_jax.models.sharding import partition_spec

__all__ = ["copy_for_sampling", "needs_copy"]


def needs_copy(params: Any, dtype: np.dtype, mesh: Mesh, sampling: Mesh) -> bool:
    """Return whether sampling needs weights of its own: another layout than `mesh`, or another dtype."""
    _, base = split_adapters(params)
    stored = {leaf.get_value().dtype for path, leaf in nnx.to_flat_state(base) if path[-1] != "scale"}
    return mesh != sampling or stored != {dtype}


def copy_for_sampling(params: Any, dtype: np.dtype, mesh: Mesh, lora: Lora | None) -> Any:
    """Return `params` laid out over `mesh` by the table, in `dtype`, without adapters: they are merged.

    Products are computed in `dtype` anyway, so that the copy gives the same bits; norms stay as they are.
    Each parameter is moved on the devices by one program, one after the other. `mesh` has the devices that
    the parameters are on, in the same order.
    """
    adapters, base = split_adapters(params)
    of = {path: leaf.get_value() for path, leaf in nnx.to_flat_state(adapters)}
    made: dict[Any, Any] = {}
    for path, leaf in nnx.to_flat_state(base):
        value = leaf.get_value()
        logical = leaf.get_metadata()["logical_axes"]
        target = NamedSharding(mesh, partition_spec(value.shape, logical, mesh))
        a, b = (of.get((*path[:-1], name)) for name in ("lora_a", "lora_b"))
        scale = lora.scale if lora is not None and path[-1] == "kernel" and a is not None else 0.0
        kept = value.dtype if path[-1] == "scale" else dtype
        made[path] = leaf.replace(_moved(np.dtype(kept), scale, target)(value, *((a, b) if scale else ())))
    return nnx.from_flat_state(made)


@functools.lru_cache(maxsize=64)
def _moved(dtype: np.dtype, scale: float, target: NamedSharding) -> Any:
    """Return the program that merges, casts and lays out one parameter."""

    def move(value: jax.Array, *adapter: jax.Array) -> jax.Array:
        return (add_product(value, *adapter, scale=scale) if adapter else value).astype(dtype)

    return jax.jit(move, out_shardings=target)
