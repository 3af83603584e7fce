"""Models are read and written a slice at a time."""

import tracemalloc

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from dast_jax.models.hf import config_from_dict, save_model
from dast_jax.models.load import abstract_model
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh, param_shardings
from dast_jax.models.tensor_files import Entry, TensorFile, write_tensors
from dast_jax.training.checkpoint import load_policy, open_policy, save_policy

LAYERS = 8
CONFIG = config_from_dict(
    {
        "model_type": "llama", "vocab_size": 64, "hidden_size": 128, "intermediate_size": 1024,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": 1,
    },
    "slices",
)  # fmt: skip
LAYER = 4 * 128 * 1024  # bytes of the largest matrix


@pytest.mark.parametrize(
    "kind", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8, np.int64, np.bool_, ml_dtypes.float8_e4m3fn]
)
def test_tensors_are_written_as_the_library_reads_them_and_read_as_views(tmp_path, kind):
    dtype = np.dtype(kind)
    arrays = {
        "b": np.arange(6).reshape(2, 3).astype(dtype),
        "a": np.ones(5, dtype),
        "none": np.zeros((0, 4), dtype),
    }
    file = tmp_path / "x.safetensors"
    write_tensors(file, [Entry(n, dtype, a.shape) for n, a in arrays.items()], iter(arrays.values()))
    opened = TensorFile(file)
    assert set(opened.names) == set(arrays)
    for name, array in arrays.items():
        found = opened.read(name)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array)
        if dtype.name != "float8_e4m3fn":  # which the library does not give as an array
            np.testing.assert_array_equal(safetensors.numpy.load_file(file)[name], array)
    view = opened.read("b")
    while not isinstance(view, np.memmap):
        view = view.base
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.fixture(scope="module")
def params():
    """Random weights, split over four devices."""
    mesh = make_mesh(MeshOptions(fsdp=4))
    template = abstract_model(CONFIG)[1]
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x, sharding: jax.device_put(rng.standard_normal(x.shape, np.float32), sharding),
        template,
        param_shardings(template, mesh),
    )


def peak_of(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_export_holds_a_layer_and_not_the_model(params, tmp_path):
    save_model(tmp_path / "first", CONFIG, params)  # what is compiled and imported is not counted
    total = sum(x.nbytes for x in jax.tree.leaves(params))
    assert total > 20 * LAYER
    peak = peak_of(lambda: save_model(tmp_path / "second", CONFIG, params))
    assert LAYER / 2 < peak < 4 * LAYER
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_a_policy_is_read_and_exported_one_parameter_at_a_time(params, tmp_path):
    save_policy(tmp_path / "policy", params)
    host = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), abstract_model(CONFIG)[1]
    )
    whole = load_policy(tmp_path / "policy", like)
    with open_policy(tmp_path / "policy", like) as read:
        np.testing.assert_array_equal(read(("layers", "up", "kernel")), whole.layers.up.kernel[...])
        np.testing.assert_array_equal(read(("embedding",)), whole.embedding[...])
        save_model(tmp_path / "read", CONFIG, like, read=read, dtype="bfloat16")
    save_model(tmp_path / "whole", CONFIG, jax.tree.map(lambda x: x.astype("bfloat16"), whole))
    read_bytes, whole_bytes = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("read", "whole"))
    assert read_bytes == whole_bytes
