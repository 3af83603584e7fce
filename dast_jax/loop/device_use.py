"""What a stage takes of the devices: time to compile, and memory in use."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from dast_jax.metrics.speed import DeviceUse

__all__ = ["measure_use"]

_COMPILE = "/jax/core/compile/backend_compile_duration"


def measure_use(mesh: Mesh) -> Callable[[], DeviceUse]:
    """Begin to measure; the function returned gives what was used of the devices of `mesh` since."""
    compilations = _compilations()
    before = len(compilations)

    def used() -> DeviceUse:
        return DeviceUse(compile_seconds=sum(compilations[before:]), memory=_peak_memory(mesh))

    return used


@functools.cache
def _compilations() -> list[float]:
    """Return the seconds of each compilation since the first call, by any thread, as a list that grows."""
    found: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == _COMPILE:
            found.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return found


def _peak_memory(mesh: Mesh) -> float | None:
    """Return the largest number of bytes that was in use on one of this process's devices."""
    stats = [device.memory_stats() or {} for device in mesh.local_devices]
    found = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    return float(max(found)) if found else None
