"""Compilation is timed for each stage by itself."""

import jax
import jax.numpy as jnp

from dast_jax.loop.device_use import measure_use
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh


def test_compilation_is_counted_and_only_that():
    mesh = make_mesh(MeshOptions())
    before = measure_use(mesh)
    program = jax.jit(lambda x: jnp.tanh(x) * 17.25)
    program(jnp.ones(3)).block_until_ready()
    found = before()
    assert found.compile_seconds > 0
    assert found.memory is None  # a CPU does not say
    after = measure_use(mesh)
    program(jnp.ones(3)).block_until_ready()
    assert after().compile_seconds == 0
    assert before().compile_seconds == found.compile_seconds
