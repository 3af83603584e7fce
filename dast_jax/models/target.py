"""What a program is compiled for, as known while it is traced."""

from __future__ import annotations

import jax
from jax.sharding import Mesh

__all__ = ["compiles_ahead", "target_platform"]


def target_platform() -> str:
    """Return "cpu", "gpu" or "tpu": the platform of the mesh (`jax.set_mesh`), whose devices may be absent.

    Without a mesh it is that of the device on which a computation runs unless told otherwise.
    """
    mesh = jax.sharding.get_abstract_mesh()
    device = mesh.abstract_device if not mesh.empty else None
    if device is None:
        default = jax.config.jax_default_device  # type: ignore[attr-defined]
        device = default if isinstance(default, jax.Device) else jax.devices(default)[0]
    platform: str = device.platform
    return "gpu" if platform in ("cuda", "rocm") else platform


def compiles_ahead(mesh: Mesh | None) -> bool:
    """Return whether programs may be compiled in a thread while others run.

    Not for GPUs, whose compiler times kernels on the device, nor on several processes, which would have to
    agree on an order.
    """
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    return device.platform in ("cpu", "tpu") and jax.process_count() == 1
