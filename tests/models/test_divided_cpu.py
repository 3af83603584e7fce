"""`mesh.cpu_data`: a CPU as several devices, where the other sizes are 1."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest

from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [({}, (1, 1, 1)), ({"cpu_data": 2}, (2, 1, 1)), ({"cpu_data": 2, "fsdp": 4}, (1, 4, 1))],
)
def test_it_is_the_data_axis_where_the_other_sizes_are_1(sizes, expected):
    assert make_mesh(MeshOptions(**sizes)).devices.shape == expected


def test_it_is_at_most_the_devices_that_jax_has_started_with(caplog):
    there = len(jax.devices())
    assert make_mesh(MeshOptions(cpu_data=there)).size == there
    assert not caplog.records
    assert make_mesh(MeshOptions(cpu_data=there + 1)).size == there
    assert caplog.messages == [
        f"mesh.cpu_data: jax has {there} CPU devices already, which are used instead of {there + 1}"
    ]


@pytest.mark.parametrize(("jax_says", "expected"), [("", 3), ("2", 2)])
def test_a_cpu_is_divided_unless_jax_is_told_how(jax_says, expected):
    code = (
        "from dast_jax.models.options import MeshOptions\n"
        "from dast_jax.models.sharding import make_mesh\n"
        "print(make_mesh(MeshOptions(cpu_data=3)).size)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    if jax_says:
        environment["JAX_NUM_CPU_DEVICES"] = jax_says
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert printed.stdout == f"{expected}\n"
