"""What a plan is for: TPU chips by their topology, GPUs by kind, CPU devices, or what is there."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from dast_jax.errors import UserError
from dast_jax.metrics.devices import Peak, peak_of
from dast_jax.options import nearest

__all__ = ["Target", "find_target", "libtpu_mismatch"]

log = logging.getLogger(__name__)

_TPUS = ("v4", "v5e", "v5p", "v6e")
_GPUS = {
    "h100": "NVIDIA H100 80GB HBM3",
    "h200": "NVIDIA H200",
    "a100": "NVIDIA A100-SXM4-80GB",
    "a100-40gb": "NVIDIA A100-SXM4-40GB",
    "l4": "NVIDIA L4",
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Devices to plan for.

    `devices` are what to compile for; where there is no compiler for them here (not `compiled`), CPU devices
    take their places and everything is estimated by formula. `peak` is that of one device, None where it is
    not known, and `memory` the bytes that programs may use of it.
    """

    name: str
    kind: str
    platform: str
    devices: Sequence[Any]
    compiled: bool
    peak: Peak | None
    memory: float | None


def find_target(topology: str | None, cpu_devices: int = 0) -> Target:
    """Return the target that `--topology` names: `v5p:2x2x1`, `h100:8`, `cpu:8`, or what is there.

    `cpu_devices` is the number of devices that a CPU which is there is divided into.

    Must be called before jax has started, where virtual CPU devices are named. Raises `UserError` for a name
    that is none, and where libtpu, the TPU compiler, is not installed.
    """
    if topology is None:
        import jax

        from dast_jax.models.target import divide_cpu

        divide_cpu(cpu_devices)
        devices = jax.devices()
        return _target(f"{len(devices)} x {devices[0].device_kind}, which are here", devices)
    kind, _, shape = topology.lower().partition(":")
    if kind == "cpu" and re.fullmatch(r"[1-9]\d*", shape):
        return _target(f"cpu:{shape}", _cpu_devices(int(shape), topology))
    if kind in _GPUS and re.fullmatch(r"([1-9]\d*)?", shape):
        peak = peak_of(_GPUS[kind])
        assert peak is not None
        count = int(shape or 1)
        return Target(
            name=f"{kind}:{count}",
            kind=_GPUS[kind],
            platform="gpu",
            devices=_cpu_devices(count, topology),
            compiled=False,
            peak=peak,
            memory=peak.memory,
        )
    if kind in _TPUS and re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", shape):
        return _tpu(kind, shape)
    raise UserError(
        f"--topology {topology}: is no topology{nearest(kind, (*_TPUS, *_GPUS, 'cpu'))}; write the chips of "
        "a TPU slice as v5p:2x2x1, v5e:4x4 or v6e:2x4, GPUs as h100:8 or l4:1, and CPU devices as cpu:8"
    )


def _tpu(kind: str, shape: str) -> Target:
    # The compiler asks for the metadata of a TPU host, and refuses a second process, unless told otherwise.
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": f"{kind}-4",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "JAX_PLATFORMS": "cpu",
    }.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    try:
        devices = topologies.get_topology_desc(f"{kind}:{shape}", "tpu").devices
    except RuntimeError as error:
        if "not installed" in str(error):
            raise UserError(
                f"--topology {kind}:{shape}: libtpu, the TPU compiler, is not installed; "
                "pip install 'dast_jax[plan]'"
            ) from None
        raise UserError(
            f"--topology {kind}:{shape}: the TPU compiler has no such slice ({str(error)[:120]}); name the "
            "chips of one, as v5p:2x2x1"
        ) from None
    with contextlib.suppress(PackageNotFoundError):  # a libtpu that TPU_LIBRARY_PATH names
        if mismatch := libtpu_mismatch(requires("jax") or [], version("libtpu")):
            log.warning("jax %s %s", version("jax"), mismatch)
    return _target(f"{kind}:{shape}", devices)


def libtpu_mismatch(requirements: Sequence[str], installed: str) -> str:
    """Return how libtpu differs from what jax's own `requirements` name; empty where it does not.

    Another version may refuse programs, or compile them differently from TPU hosts with this jax.
    """
    wanted = next(
        (m[1] for text in requirements if (m := re.match(r"libtpu\s*==\s*([\d.]+)\.\*", text))), None
    )
    if wanted is None or f"{installed}.".startswith(f"{wanted}."):
        return ""
    return f"is built for libtpu {wanted}, and {installed} is installed: pip install 'dast_jax[plan]'"


def _cpu_devices(count: int, topology: str) -> Sequence[Any]:
    import jax

    from dast_jax.models.target import divide_cpu

    with contextlib.suppress(RuntimeError):  # jax has started: what there is must do
        jax.config.update("jax_platforms", "cpu")
    divide_cpu(count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UserError(
            f"--topology {topology}: jax has started with {len(devices)} CPU devices already; plan in a new "
            "process"
        )
    return devices[:count]


def _target(name: str, devices: Sequence[Any]) -> Target:
    from dast_jax.sampling.automatic import device_memory

    kind = devices[0].device_kind
    memory = device_memory(devices[0])
    return Target(
        name=name,
        kind=kind,
        platform=devices[0].platform,
        devices=devices,
        compiled=True,
        peak=peak_of(kind),
        memory=memory or None,
    )
