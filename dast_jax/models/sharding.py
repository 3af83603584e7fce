"""One table from logical axis names to mesh axes, and the few functions that use it.

Parameters and activations name their axes ("embed", "heads", "batch", …); `LOGICAL_AXES` says which
mesh axes each name is split over. The mesh always has the three axes `data`, `fsdp`, `tensor`, with
Auto axis types: the compiler propagates shardings, and `constrain` pins the few that matter.

An axis whose length the mesh axes do not divide is replicated instead of padded: three key/value heads on a
`tensor` axis of two stay whole on every device, while the query heads and the MLP are still split.
"""

from __future__ import annotations

import math
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dast_jax.errors import UserError
from dast_jax.models.options import MeshOptions
from dast_jax.models.target import target_platform

__all__ = [
    "LOGICAL_AXES",
    "constrain",
    "make_mesh",
    "on_one_cpu",
    "param_shardings",
    "partition_spec",
    "shard_params",
]

MESH_AXES = ("data", "fsdp", "tensor")

LOGICAL_AXES: dict[str, tuple[str, ...]] = {
    # activations
    "batch": ("data", "fsdp"),
    "length": (),
    "activation_embed": (),
    # parameters, and the activations that share their axes
    "layers": (),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "head_dim": (),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}


def make_mesh(options: MeshOptions) -> Mesh:
    """Return the mesh of `options` over the first devices of all processes, Auto axis types.

    One axis may be -1: it takes the devices that the other two leave. Raises `UserError` if the
    devices do not suffice or are not divided evenly.
    """
    sizes = [options.data, options.fsdp, options.tensor]
    devices = jax.devices()
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UserError(
            f"mesh.data={sizes[0]} mesh.fsdp={sizes[1]} mesh.tensor={sizes[2]}: "
            "each must be 1 or more, and one of them may be -1"
        )
    if -1 in sizes:
        others = -math.prod(sizes)
        if len(devices) % others:
            raise UserError(
                f"mesh: {len(devices)} devices are not divisible by {others}; change the mesh sizes"
            )
        sizes[sizes.index(-1)] = len(devices) // others
    count = math.prod(sizes)
    if count > len(devices):
        raise UserError(
            f"mesh.data={sizes[0]} mesh.fsdp={sizes[1]} mesh.tensor={sizes[2]} needs {count} devices, "
            f"but {len(devices)} are available; lower one of them"
        )
    return jax.make_mesh(tuple(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices[:count])


def partition_spec(shape: tuple[int, ...], logical: tuple[str | None, ...], mesh: Any) -> P:
    """Return the partition of an array of `shape` whose axes have the names `logical`.

    Mesh axes that do not divide their array axis are dropped, and so is a mesh axis named twice.
    """
    sizes = dict(mesh.shape)
    used: set[str] = set()
    spec: list[Any] = []
    for length, name in zip(shape, logical, strict=True):
        axes = [axis for axis in LOGICAL_AXES[name] if axis not in used] if name is not None else []
        axes = [axis for axis in axes if sizes.get(axis, 1) > 1]
        while axes and length % math.prod(sizes[axis] for axis in axes):
            axes.pop()
        used.update(axes)
        spec.append(tuple(axes) if len(axes) > 1 else axes[0] if axes else None)
    while spec and spec[-1] is None:  # as the compiler writes it: else its outputs are recompiled for
        spec.pop()
    return P(*spec)


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
    """Return `x` with its sharding pinned under `jax.set_mesh`; without a mesh, `x` as it is."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    pinned: jax.Array = jax.lax.with_sharding_constraint(x, partition_spec(x.shape, logical, mesh))
    return pinned


def on_one_cpu() -> bool:
    """Return whether what is traced now will run on one CPU device: of the mesh, if there is one."""
    mesh = jax.sharding.get_abstract_mesh()
    return target_platform() == "cpu" and (mesh.empty or mesh.size == 1)


def _is_variable(leaf: Any) -> bool:
    return hasattr(leaf, "get_metadata")


def param_shardings(params: Any, mesh: Mesh) -> Any:
    """Return a tree like `params` (of arrays or shapes) with a `NamedSharding` in place of each array.

    Works for anything built from the parameters by `jax.tree.map`, such as optimizer moments; leaves
    that carry no axis names are replicated.
    """

    def one(leaf: Any) -> Any:
        if not _is_variable(leaf):
            return NamedSharding(mesh, P())
        logical = leaf.get_metadata().get("logical_axes")
        value = leaf.get_value()
        if not hasattr(value, "ndim"):  # what optax masks out of a part of an optimizer's state
            return leaf
        if logical is None or value.ndim != len(logical):
            sharding = NamedSharding(mesh, P())
        else:
            sharding = NamedSharding(mesh, partition_spec(value.shape, logical, mesh))
        return leaf.replace(sharding)

    return jax.tree.map(one, params, is_leaf=_is_variable)


def shard_params(params: Any, mesh: Mesh) -> Any:
    """Return `params` laid out over `mesh` by the table (host or device arrays in, sharded arrays out)."""
    return jax.device_put(params, param_shardings(params, mesh))
