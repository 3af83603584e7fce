"""The model over four virtual devices: the same numbers as on one, and really split."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P
from model_cases import case, forward, our_logits, state_equal, tokenizer
from reference.llama_cases import inputs

from dast_jax.errors import UserError
from dast_jax.models.hf import save_model
from dast_jax.models.load import load_model
from dast_jax.models.options import MeshOptions, SamplingMeshOptions
from dast_jax.models.sampling_copy import _moved, copy_for_sampling
from dast_jax.models.sharding import (
    constrain,
    make_mesh,
    param_shardings,
    partition_spec,
    sampling_mesh,
    shard_params,
)
from dast_jax.models.token_rows import rows_of


@pytest.mark.parametrize("sizes", [{"fsdp": 2, "tensor": 2}, {"data": 2, "tensor": 2}])
def test_logits_are_those_of_one_device(sizes):
    _, graphdef, params = case("all_biases")
    mesh = make_mesh(MeshOptions(**sizes))
    with jax.set_mesh(mesh):
        logits = forward(
            graphdef, shard_params(params, mesh), *(np.tile(x, (2, 1)) for x in inputs("all_biases"))
        )
    assert len(logits.sharding.device_set) == 4
    np.testing.assert_allclose(logits, np.tile(our_logits("all_biases"), (2, 1, 1)), atol=2e-5)


def test_the_big_matrices_are_split():
    config, _, params = case("grouped")
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    sharded = shard_params(params, mesh)
    big = {
        ".".join(map(str, path)): leaf.get_value()
        for path, leaf in nnx.to_flat_state(sharded)
        if path[-1] == "kernel"
    }
    assert len(big) == 7
    for name, array in big.items():
        assert array.addressable_shards[0].data.size * 4 == array.size, name
    hidden, heads = config.hidden_size, config.num_heads
    assert sharded.layers.q.kernel.get_value().sharding.spec == P(None, "fsdp", "tensor")
    assert sharded.layers.q.kernel.get_value().addressable_shards[0].data.shape == (
        3,
        hidden // 2,
        heads // 2,
        16,
    )
    # 97 tokens do not divide by two, so that axis stays whole
    assert sharded.embedding.get_value().addressable_shards[0].data.shape == (97, hidden // 2)


def test_key_value_heads_that_do_not_divide_are_replicated():
    config, graphdef, params = case("odd_heads")
    assert config.num_kv_heads == 3
    mesh = make_mesh(MeshOptions(tensor=2))
    sharded = shard_params(params, mesh)
    assert sharded.layers.k.kernel.get_value().sharding.spec == P()
    assert sharded.layers.up.kernel.get_value().sharding.spec == P(None, None, "tensor")
    with jax.set_mesh(mesh):
        logits = forward(graphdef, sharded, *inputs("odd_heads"))
    np.testing.assert_allclose(logits, our_logits("odd_heads"), atol=2e-5)


def test_optimizer_moments_are_split_like_their_parameters():
    _, _, params = case("grouped")
    mesh = make_mesh(MeshOptions(fsdp=4))
    moments = jax.tree.map(jnp.zeros_like, {"count": jnp.zeros(()), "mu": params})
    shardings = param_shardings(moments, mesh)
    assert shardings["mu"].layers.up.kernel.get_value().spec == P(None, "fsdp")
    assert shardings["count"].spec == P()


def test_a_model_is_loaded_straight_onto_the_mesh(tmp_path):
    config, _, params = case("grouped")
    save_model(tmp_path, config, params, tokenizer())
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=-1))
    loaded = load_model(tmp_path, mesh=mesh)
    assert dict(mesh.shape) == {"data": 1, "fsdp": 2, "tensor": 2}
    assert loaded.params.layers.up.kernel.get_value().sharding.spec == P(None, "fsdp", "tensor")
    assert state_equal(loaded.params, params)
    # a sharded policy is written like any other
    save_model(tmp_path / "again", config, loaded.params)
    assert (tmp_path / "again/model.safetensors").read_bytes() == (
        tmp_path / "model.safetensors"
    ).read_bytes()


def test_partition_spec_follows_the_table():
    mesh = make_mesh(MeshOptions(data=2, fsdp=2))
    assert partition_spec((8, 3), ("batch", None), mesh) == P(("data", "fsdp"))
    assert partition_spec((6, 3), ("batch", None), mesh) == P("data")
    assert partition_spec((5, 4), ("batch", "embed"), mesh) == P(None, "fsdp")


def test_constrain_does_nothing_without_a_mesh():
    x = jnp.ones((4, 4))
    assert constrain(x, "batch", "embed") is x


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"fsdp": 8}, "needs 8 devices"),
        ({"data": -1, "fsdp": -1}, "one of them may be -1"),
        ({"tensor": 0}, "1 or more"),
        ({"tensor": 3, "data": -1}, "not divisible"),
    ],
)
def test_an_impossible_mesh_is_refused(sizes, said):
    with pytest.raises(UserError, match=said):
        make_mesh(MeshOptions(**sizes))


def test_a_copy_in_another_layout_gathers_one_layer_at_a_time(capfd):
    """No device has more of a stack than a layer and its own part, and the compiler warns of nothing."""
    mesh = make_mesh(MeshOptions(fsdp=4))
    other = sampling_mesh(SamplingMeshOptions(data=2, tensor=2), mesh)
    stack = np.random.default_rng(0).standard_normal((16, 32, 64)).astype(np.float32)
    param = nnx.Param(stack, logical_axes=("layers", "embed", "mlp"))
    sharded = shard_params(nnx.State({"kernel": param}), mesh)
    copy = copy_for_sampling(sharded, np.dtype(jnp.bfloat16), other, None)["kernel"].get_value()
    assert copy.sharding.spec == P(None, None, "tensor")
    np.testing.assert_array_equal(copy, stack.astype(jnp.bfloat16))
    value = sharded["kernel"].get_value()
    program = _moved(copy.dtype, 0.0, copy.sharding, True, True).lower(value).compile()
    arrays = re.findall(r"= \w+\[([\d,]+)\]", program.as_text())
    assert max(np.prod([int(n) for n in a.split(",")]) for a in arrays) <= stack.size // 2
    assert "rematerialization" not in capfd.readouterr().err


@pytest.mark.parametrize("sizes", [{"data": 2, "fsdp": 2}, {"fsdp": 2, "tensor": 2}, {"tensor": 4}])
@pytest.mark.parametrize(("vocabulary", "width"), [(96, 8), (97, 8), (96, 7)])
def test_embeddings_and_their_gradient_stay_where_they_are_kept(sizes, vocabulary, width, capfd):
    """Whether or not the mesh divides vocabulary and columns; nothing is gathered whole."""
    random = np.random.default_rng(0)
    table, rows = (random.standard_normal((*n, width)).astype(np.float32) for n in ((vocabulary,), (4, 6)))
    tokens = random.integers(0, vocabulary, (4, 6), np.int32)
    expected = np.zeros_like(table)
    np.add.at(expected, tokens, rows)

    def both(table, tokens, rows):
        table = constrain(table, "vocab", "embed")
        found, back = jax.vjp(lambda x: rows_of(x, constrain(tokens, "batch", None), x.dtype), table)
        return constrain(found, "batch", None, None), constrain(
            back(constrain(rows, "batch", None, None))[0], "vocab", "embed"
        )

    with jax.set_mesh(make_mesh(MeshOptions(**sizes))):
        found, gradient = jax.jit(both)(table, tokens, rows)
    np.testing.assert_array_equal(found, table[tokens])
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert "rematerialization" not in capfd.readouterr().err
