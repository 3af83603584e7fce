"""What programs are compiled for."""

from __future__ import annotations

import contextlib
import os

import jax
from jax.sharding import Mesh

__all__ = ["compiles_ahead", "divide_cpu", "target_platform"]


def divide_cpu(count: int) -> None:
    """Make a CPU `count` devices; 0 leaves it whole.

    That has no effect where jax has started, or where its own variables say how many.
    """
    told = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if count and not told and jax.config.jax_num_cpu_devices < 0:  # type: ignore[attr-defined]
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)


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
