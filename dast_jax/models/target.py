"""What a program is compiled for, as known while it is traced."""

from __future__ import annotations

import jax

__all__ = ["target_platform"]


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
