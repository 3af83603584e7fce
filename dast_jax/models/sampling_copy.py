"""The weights as the sampler holds them: in its layout, in the dtype of the products, adapters merged."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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
        gathers = isinstance(value.sharding, NamedSharding) and value.sharding.mesh != mesh
        layers = logical[0] == "layers" and bool(gathers or scale)
        move = _moved(np.dtype(kept), scale, target, gathers, layers)
        made[path] = leaf.replace(move(value, *((a, b) if scale else ())))
    return nnx.from_flat_state(made)


@functools.lru_cache(maxsize=64)
def _moved(dtype: np.dtype, scale: float, target: NamedSharding, gathers: bool, layers: bool) -> Any:
    """Return the program that merges, casts and lays out one parameter.

    With `gathers`, every device gathers an array before it keeps its part: between the layouts of two meshes
    the compiler often finds no other way. With `layers` that is one layer at a time, and so is the product of
    an adapter, which is float32.
    """
    whole = NamedSharding(target.mesh, PartitionSpec())

    def one(value: jax.Array, *adapter: jax.Array) -> jax.Array:
        made = (add_product(value, *adapter, scale=scale) if adapter else value).astype(dtype)
        if gathers:
            made = jax.lax.optimization_barrier(jax.lax.with_sharding_constraint(made, whole))
        laid: jax.Array = jax.lax.with_sharding_constraint(made, target)
        return laid

    def each_layer(*arrays: jax.Array) -> jax.Array:
        def put(layer: jax.Array, made: jax.Array) -> jax.Array:
            new = one(*(jax.lax.dynamic_slice_in_dim(x, layer, 1) for x in arrays))
            return jax.lax.dynamic_update_slice_in_dim(made, new, layer, 0)

        shape = arrays[0].shape
        empty = jax.lax.with_sharding_constraint(jnp.zeros(shape, dtype), target)
        filled: jax.Array = jax.lax.fori_loop(0, shape[0], put, empty)
        return filled

    return jax.jit(each_layer if layers else one, out_shardings=target)
