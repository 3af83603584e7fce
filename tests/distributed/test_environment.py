"""How many processes a run has, by options and by what launchers set."""

from __future__ import annotations

import pytest

from dast_jax.distributed.environment import process_count
from dast_jax.distributed.options import DistributedOptions
from dast_jax.errors import UserError


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 1),
        ({"JAX_NUM_PROCESSES": "3"}, 3),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, 1),  # a batch script that does not use srun
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, 1),
        ({"TPU_WORKER_HOSTNAMES": "t-0.sub,t-1.sub,t-2.sub,t-3.sub"}, 4),
    ],
)
def test_launchers_say_how_many(environment: dict[str, str], count: int) -> None:
    assert process_count(DistributedOptions(), environment) == count
    assert process_count(DistributedOptions(processes=1), environment) == 1


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES: expected a number of processes, got 'two'"):
        process_count(DistributedOptions(), {"JAX_NUM_PROCESSES": "two"})


def test_processes_count_from_0() -> None:
    with pytest.raises(ValueError, match="process_id: 2 is not below processes=2"):
        DistributedOptions(processes=2, process_id=2)
