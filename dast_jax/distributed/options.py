"""Options of a run on several processes. No jax here."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.options import opt

__all__ = ["DistributedOptions"]


@dataclass(frozen=True, kw_only=True)
class DistributedOptions:
    """How many processes there are, and how they find each other; what is not set, the environment says."""

    processes: int = opt(
        0,
        "processes of the run, one per host as a rule; 0: as SLURM, Open MPI, a Cloud TPU or "
        "JAX_NUM_PROCESSES says, else 1",
        min=0,
        changes_result=False,
    )
    process_id: int = opt(
        -1,
        "number of this process, from 0; -1: as the launcher or JAX_PROCESS_ID says",
        min=-1,
        changes_result=False,
    )
    coordinator: str = opt(
        "",
        "host:port of process 0, any free port; empty: as the launcher or JAX_COORDINATOR_ADDRESS says",
        changes_result=False,
    )
    start_seconds: int = opt(
        300, "how long a process waits for the others to start", min=1, changes_result=False
    )
    silence_seconds: int = opt(
        30,
        "a process that is not heard of for this long counts as gone, and the run ends on all of them",
        min=2,
        changes_result=False,
    )

    def __post_init__(self) -> None:
        if self.processes > 1 and self.process_id >= self.processes:
            raise ValueError(
                f"process_id: {self.process_id} is not below processes={self.processes}; count from 0"
            )
