"""Connecting the processes of a run before its programs need each other."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from dast_jax.distributed.group import current, everywhere

if TYPE_CHECKING:
    from jax.sharding import Mesh

__all__ = ["meet"]


def meet(mesh: Mesh) -> None:
    """Wait until all processes have come here, and connect them for the collectives of `mesh`.

    They are otherwise connected by the first collective of each set of devices, which on CPUs waits only 30
    seconds for a process that is still compiling. With one process, do nothing.
    """
    if current() is None:
        return
    import jax
    import numpy as np
    from jax.experimental import multihost_utils
    from jax.sharding import PartitionSpec

    everywhere(True)
    multihost_utils.sync_global_devices("dast_jax/meet")  # the devices of `broadcast`
    axes = [name for name, size in mesh.shape.items() if size > 1]
    together = [s for n in range(1, len(axes) + 1) for s in itertools.combinations(axes, n)]

    def sums(x: jax.Array) -> list[jax.Array]:
        return [jax.lax.psum(x, names) for names in together]

    whole = PartitionSpec()
    connect = jax.shard_map(sums, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False)
    jax.block_until_ready(jax.jit(connect)(np.float32(0)))
