"""Policies and training states on disk: the same bits back, on any mesh, whatever happens in between."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training as tiny

from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh, param_shardings, shard_params
from dast_jax.training import checkpoint
from dast_jax.training.checkpoint import TrainCheckpoints, load_policy, save_policy


def spoilt(params, value):
    return jax.tree.map(lambda p: p + value, params)


def test_a_policy_comes_back_bit_for_bit(tmp_path):
    _, params = tiny.model()
    params = spoilt(params, 1e-3)
    save_policy(tmp_path / "policy", params)
    back = load_policy(tmp_path / "policy", tiny.model()[1])
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert tiny.same_bits(back, params)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_and_odd_values_survive(tmp_path, dtype):
    tree = {"a": jnp.asarray([0.1, -0.0, np.inf, np.nan, 1e-40], dtype), "b": jnp.int32(7)}
    save_policy(tmp_path / "policy", tree)
    assert tiny.same_bits(load_policy(tmp_path / "policy", tree), tree)


def test_a_policy_moves_between_meshes(tmp_path):
    _, params = tiny.model()
    one, other = make_mesh(MeshOptions(fsdp=2, tensor=2)), make_mesh(MeshOptions(data=2, tensor=2))
    save_policy(tmp_path / "policy", shard_params(params, one))
    assert tiny.same_bits(load_policy(tmp_path / "policy", params), params)
    shardings = param_shardings(params, other)
    like = jax.tree.map(
        lambda p, s: jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=s),
        jax.eval_shape(lambda: params),
        shardings,
    )
    back = load_policy(tmp_path / "policy", like)
    assert tiny.same_bits(back, params)
    kernel = back["layers"]["gate"]["kernel"].get_value()
    assert kernel.sharding == shardings["layers"]["gate"]["kernel"].get_value()
    assert kernel.addressable_shards[0].data.size * 2 == kernel.size


def test_a_second_save_replaces_the_first(tmp_path):
    _, params = tiny.model()
    save_policy(tmp_path / "policy", params)
    save_policy(tmp_path / "policy", spoilt(params, 1.0))
    assert tiny.same_bits(load_policy(tmp_path / "policy", params), spoilt(params, 1.0))
    assert len([p for p in (tmp_path / "policy").iterdir() if p.name.isdigit()]) == 1


def test_a_save_that_fails_leaves_the_previous_one(tmp_path, monkeypatch):
    _, params = tiny.model()
    save_policy(tmp_path / "policy", params)

    def fail(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.ocp.CheckpointManager, "save", fail)
    with pytest.raises(InterruptedRunError, match="disk is full"):
        save_policy(tmp_path / "policy", spoilt(params, 1.0))
    monkeypatch.undo()
    assert tiny.same_bits(load_policy(tmp_path / "policy", params), params)


def test_a_missing_policy_is_a_user_error(tmp_path):
    _, params = tiny.model()
    with pytest.raises(UserError, match="no such policy checkpoint"):
        load_policy(tmp_path / "nowhere", params)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no complete policy"):
        load_policy(tmp_path / "empty", params)


def test_a_half_written_version_is_ignored(tmp_path):
    _, params = tiny.model()
    save_policy(tmp_path / "policy", params)
    version = next(p for p in (tmp_path / "policy").iterdir() if p.name.isdigit())
    half = version.with_name("2.orbax-checkpoint-tmp-123")
    shutil.copytree(version, half)
    shutil.rmtree(half / "state")
    assert tiny.same_bits(load_policy(tmp_path / "policy", params), params)
    save_policy(tmp_path / "policy", spoilt(params, 1.0))
    assert tiny.same_bits(load_policy(tmp_path / "policy", params), spoilt(params, 1.0))


def test_training_states_keep_the_last_and_clear(tmp_path):
    checkpoints = TrainCheckpoints(tmp_path / "state", seconds=1e9)
    assert not checkpoints.due()
    state = {"x": jnp.arange(3.0)}
    assert checkpoints.restore(state) is None
    checkpoints.save(1, state, {"step": 1})
    checkpoints.save(2, {"x": jnp.arange(3.0) + 1}, {"step": 2})
    checkpoints.save(2, {"x": jnp.arange(3.0) + 1}, {"step": 2})
    back, meta = TrainCheckpoints(tmp_path / "state").restore(state)
    assert meta == {"step": 2}
    assert back["x"].tolist() == [1.0, 2.0, 3.0]
    assert TrainCheckpoints(tmp_path, seconds=0).due()
    checkpoints.clear()
    assert checkpoints.restore(state) is None


FULL_DISK = """
    import sys, jax.numpy as jnp, numpy as np
    from dast_jax.errors import InterruptedRunError
    from dast_jax.training.checkpoint import load_policy, save_policy
    small = {"x": jnp.arange(8.0)}
    large = {"x": jnp.asarray(np.random.RandomState(0).rand(500_000), jnp.float32)}
    save_policy(sys.argv[1] + "/policy", small)
    for _ in range(2):
        try:
            save_policy(sys.argv[1] + "/policy", large)
            sys.exit("the disk was not full")
        except InterruptedRunError as error:
            print(error)
    assert load_policy(sys.argv[1] + "/policy", small)["x"].tolist() == list(range(8))
"""


def test_a_full_disk_is_an_interruption_and_keeps_what_was_there(tmp_path):
    """On a real file system of 700 KB, where mounting one is allowed."""
    mount = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=700k tmpfs "$0" && exec "$@"',
        str(tmp_path),
    ]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow mounting a small file system")
    done = subprocess.run(
        [*mount, sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the disk is full") == 2


def test_a_state_may_be_donated_while_it_is_written(tmp_path):
    change = jax.jit(lambda x: x * -2.0, donate_argnums=0)
    state = {"x": jnp.arange(1_000_000.0)}
    checkpoints = TrainCheckpoints(tmp_path / "state", seconds=1e9)
    for step in range(3):
        checkpoints.save(step, state, {"step": step})
        expected = (-2.0) ** step * np.arange(1_000_000.0)
        state = {"x": change(state["x"])}
        state["x"].block_until_ready()
        checkpoints.finish()
        assert checkpoints.save_seconds > 0
        back, meta = TrainCheckpoints(tmp_path / "state").restore(state)
        assert meta == {"step": step}
        np.testing.assert_array_equal(back["x"], expected)


FAILING_DISK = """
    import resource, signal, sys, jax.numpy as jnp, numpy as np
    from dast_jax.training.checkpoint import TrainCheckpoints, begin_policy, load_policy
    small = {"x": jnp.arange(8.0)}
    large = {"x": jnp.asarray(np.random.RandomState(0).rand(500_000), jnp.float32)}
    begin_policy(sys.argv[1] + "/policy", small).wait()
    kept = TrainCheckpoints(sys.argv[1] + "/state", seconds=1e9)
    kept.save(1, small, {"step": 1})
    kept.finish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, resource.RLIM_INFINITY))  # no larger file
    policy = begin_policy(sys.argv[1] + "/policy", large)  # returns: the error comes later
    kept.save(2, large, {"step": 2})
    for wait in (policy.wait, policy.wait, kept.finish, kept.finish, lambda: kept.save(3, small, {})):
        try:
            wait()
            sys.exit("an error was lost")
        except Exception as error:
            print("error:", str(error).splitlines()[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert load_policy(sys.argv[1] + "/policy", small)["x"].tolist() == list(range(8))
    state, meta = TrainCheckpoints(sys.argv[1] + "/state").restore(small)
    assert meta == {"step": 1}, meta
"""


def test_an_error_in_the_background_is_raised_whenever_it_is_waited_for(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FAILING_DISK), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("error:") == 5
    print(done.stdout)
