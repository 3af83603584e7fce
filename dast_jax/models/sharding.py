"""One table from logical axis names to mesh axes, and the few functions that use it.

Parameters and activations name their axes ("embed", "heads", "batch", …); `LOGICAL_AXES` says which
mesh axes each name is split over. The mesh always has the three axes `data`, `fsdp`, `tensor`, with
Auto axis types: the compiler propagates shardings, and `constrain` pins the few that matter.

An axis whose length the mesh axes do not divide is replicated instead of padded: three key/value heads on a
`tensor` axis of two stay whole on every device, while the query heads and the MLP are still split.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dast_jax.errors import UserError
from dast_jax.models.options import MeshOptions, SamplingMeshOptions
from dast_jax.models.target import divide_cpu, target_platform

__all__ = [
    "LOGICAL_AXES",
    "MESH_AXES",
    "Laid",
    "axis_names",
    "constrain",
    "laid_out",
    "locally",
    "make_mesh",
    "mesh_sizes",
    "on_one_cpu",
    "param_shardings",
    "partition_spec",
    "sampling_mesh",
    "shard_params",
    "shards_of",
]

log = logging.getLogger(__name__)

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
    "rank": (),
}


def mesh_sizes(options: MeshOptions, available: int) -> tuple[int, int, int]:
    """Return the sizes of the mesh axes over `available` devices.

    One of `options` may be -1: it takes the devices that the other two leave. Raises `UserError` if the
    devices do not suffice or are not divided evenly.
    """
    sizes = [options.data, options.fsdp, options.tensor]
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UserError(
            f"mesh.data={sizes[0]} mesh.fsdp={sizes[1]} mesh.tensor={sizes[2]}: "
            "each must be 1 or more, and one of them may be -1"
        )
    if -1 in sizes:
        others = -math.prod(sizes)
        if available % others:
            raise UserError(f"mesh: {available} devices are not divisible by {others}; change the mesh sizes")
        sizes[sizes.index(-1)] = available // others
    count = math.prod(sizes)
    if count > available:
        raise UserError(
            f"mesh.data={sizes[0]} mesh.fsdp={sizes[1]} mesh.tensor={sizes[2]} needs {count} devices, "
            f"but {available} are available; lower one of them"
        )
    return sizes[0], sizes[1], sizes[2]


def make_mesh(options: MeshOptions, devices: Sequence[Any] | None = None) -> Mesh:
    """Return the mesh of `options` over the first devices of all processes, Auto axis types.

    `devices` are others to use, which may be absent (`planning`). Raises `UserError` as `mesh_sizes`.
    """
    wanted = options.cpu_devices
    if devices is None:
        divide_cpu(wanted)
        devices = jax.devices()
        if devices[0].platform == "cpu" and len(devices) < wanted:
            log.warning(
                "mesh.cpu_data: jax has %d CPU devices already, which are used instead of %d",
                len(devices),
                wanted,
            )
    devices = list(devices)
    if wanted and devices[0].platform == "cpu":
        options = dataclasses.replace(options, data=min(wanted, len(devices)))
    sizes = mesh_sizes(options, len(devices))
    count = math.prod(sizes)
    return jax.make_mesh(sizes, MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices[:count])


def sampling_mesh(options: SamplingMeshOptions, mesh: Mesh) -> Mesh:
    """Return the mesh of sampling over all devices of `mesh`, in their order; `mesh` where none is set.

    Raises `UserError` where the sizes do not make up the number of devices.
    """
    given = [options.data, options.fsdp, options.tensor]
    if not any(given):
        return mesh
    sizes = [size or 1 for size in given]
    if sizes.count(-1) == 1 and mesh.size % -math.prod(sizes) == 0:
        sizes[sizes.index(-1)] = mesh.size // -math.prod(sizes)
    if min(sizes) < 1 or math.prod(sizes) != mesh.size:
        raise UserError(
            f"mesh.sampling.data={given[0]} mesh.sampling.fsdp={given[1]} mesh.sampling.tensor={given[2]}: "
            f"sampling uses the {mesh.size} devices of mesh, all of them; choose sizes with that product, of "
            "which one may be -1"
        )
    return Mesh(mesh.devices.reshape(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * 3)


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


def axis_names(spec: P, ndim: int) -> tuple[tuple[str, ...], ...]:
    """Return the mesh axes over which each of the first `ndim` array axes is split."""
    padded = (*spec, *(None,) * ndim)[:ndim]
    return tuple(() if x is None else (x,) if isinstance(x, str) else tuple(x) for x in padded)


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
    """Return `x` with its sharding pinned under `jax.set_mesh`; without a mesh, `x` as it is."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh._any_axis_manual:
        return x
    pinned: jax.Array = jax.lax.with_sharding_constraint(x, partition_spec(x.shape, logical, mesh))
    return pinned


class Laid(NamedTuple):
    """Arrays (or their shapes) with the same logical axes; axes beyond those that are named are whole."""

    arrays: Any
    axes: tuple[str | None, ...]


def locally(function: Callable[..., Any], inputs: Sequence[Laid], outputs: Laid | tuple[Laid, ...]) -> Any:
    """Return `function` of the inputs, each device computing its own part of the outputs from its own parts.

    For indices into an axis that is split, as the compiler would copy all of it to each device. `outputs`
    has arrays of the results' shapes. Without a mesh the function is called as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh._any_axis_manual:
        return function(*(given.arrays for given in inputs))

    def specs(given: Laid) -> Any:
        def one(x: Any) -> P:
            return partition_spec(x.shape, (*given.axes, *(None,) * x.ndim)[: x.ndim], mesh)

        return jax.tree.map(one, given.arrays)

    local = jax.shard_map(
        function,
        in_specs=tuple(map(specs, inputs)),
        out_specs=specs(outputs) if isinstance(outputs, Laid) else tuple(map(specs, outputs)),
        check_vma=False,
    )
    return local(*(given.arrays for given in inputs))


def shards_of(mesh: Mesh | None, axis: str) -> int:
    """Return the number of parts into which `mesh` splits a logical axis whose length it divides."""
    return 1 if mesh is None else math.prod(mesh.shape[name] for name in LOGICAL_AXES[axis])


def on_one_cpu() -> bool:
    """Return whether each CPU device computes by itself what is traced now: in `locally`, or being one."""
    mesh = jax.sharding.get_abstract_mesh()
    return target_platform() == "cpu" and (mesh.empty or mesh.size == 1 or mesh._any_axis_manual)


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


def laid_out(tree: Any, mesh: Mesh) -> Any:
    """Return the shapes of `tree` (of arrays or shapes), each with its layout by `param_shardings`."""
    return jax.tree.map(
        lambda sharding, x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        param_shardings(tree, mesh),
        tree,
    )


def shard_params(params: Any, mesh: Mesh) -> Any:
    """Return `params` laid out over `mesh` by the table (host or device arrays in, sharded arrays out)."""
    return jax.device_put(params, param_shardings(params, mesh))
