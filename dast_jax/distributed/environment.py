"""Whether a run has several processes, by its options and by what launchers set. No jax here."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from dast_jax.distributed.options import DistributedOptions
from dast_jax.errors import UserError

__all__ = ["COORDINATOR", "PROCESSES", "PROCESS_ID", "process_count"]

PROCESSES, PROCESS_ID, COORDINATOR = "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_COORDINATOR_ADDRESS"

_COUNTS = (PROCESSES, "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""Variables with the number of processes. SLURM_NTASKS is not one: a batch script without srun has it too."""

_LISTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
"""Variables with a comma-separated list of a TPU slice's hosts, as GKE sets them."""

_CHIPS = ("/dev/accel0", "/dev/vfio/0")


def process_count(options: DistributedOptions, environment: Mapping[str, str] | None = None) -> int:
    """Return the number of processes of the run; raise `UserError` for a variable that is no number."""
    environment = os.environ if environment is None else environment
    if options.processes:
        return options.processes
    for name in _COUNTS:
        if text := environment.get(name, ""):
            if not text.isdigit():
                raise UserError(f"{name}: expected a number of processes, got {text!r}")
            return int(text)
    for name in _LISTS:
        if text := environment.get(name, ""):
            return len(text.split(","))
    return _tpu_workers(environment)


def _tpu_workers(environment: Mapping[str, str]) -> int:
    """Return the number of hosts of the Cloud TPU slice that this machine is in; 1 where it is in none."""
    if "TPU_SKIP_MDS_QUERY" in environment or not any(Path(chip).exists() for chip in _CHIPS):
        return 1
    host = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/instance/attributes/worker-network-endpoints",
        headers={"Metadata-Flavor": "Google"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return len(answer.read().decode().split(","))
    except OSError:
        return 1
