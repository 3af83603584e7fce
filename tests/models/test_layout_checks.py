"""What follows the device, and what a mesh does not divide."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from model_cases import case

from dast_jax.errors import UserError
from dast_jax.loop.context import _with_kept_model
from dast_jax.models.device_defaults import resolved
from dast_jax.models.layout import check_divides, replicated
from dast_jax.models.options import MeshOptions, ModelOptions, SamplingMeshOptions
from dast_jax.models.sharding import make_mesh, sampling_mesh


@pytest.mark.parametrize(
    ("platform", "chosen"),
    [("cpu", ("float32", "none")), ("gpu", ("bfloat16", "full")), ("tpu", ("bfloat16", "full"))],
)
def test_products_and_remat_follow_the_device_and_what_is_set_stays(platform, chosen):
    found = resolved(ModelOptions(path="m"), platform)
    assert (found.compute_dtype, found.remat) == chosen
    assert found.dtype == "float32"  # the weights that are trained
    given = ModelOptions(path="m", compute_dtype="float32", remat="dots")
    assert resolved(given, platform) == given


def test_what_was_chosen_is_kept_on_another_device():
    store = SimpleNamespace(config={"model": {"compute_dtype": "bfloat16", "remat": "full"}})
    kept = _with_kept_model(ModelOptions(path="m"), store)
    assert resolved(kept, "cpu") == ModelOptions(path="m", compute_dtype="bfloat16", remat="full")
    assert _with_kept_model(ModelOptions(path="m", remat="none"), store).remat == "none"


@pytest.mark.parametrize(
    ("value", "near"), [(6, "set it to 4 or 8"), (3, "set it to 4$"), (10, "set it to 8 or 12")]
)
def test_rows_that_do_not_divide_are_refused_with_the_nearest_that_do(value, near):
    mesh = make_mesh(MeshOptions(data=2, fsdp=2))
    with pytest.raises(UserError, match=rf"sampling\.slots={value}: slots are split into .* = 4 .*; {near}"):
        check_divides("sampling.slots", value, mesh, "slots")
    check_divides("sampling.slots", 8, mesh, "slots")
    check_divides("sampling.slots", value, None, "slots")


def test_what_of_a_model_does_not_divide_is_named():
    config, _, _ = case("odd_heads")  # 9 heads, 3 of keys and values, 97 tokens, hidden 72, MLP 112
    lines = replicated(config, make_mesh(MeshOptions(fsdp=2, tensor=2)))
    assert [line.split("model's ")[1] for line in lines] == [
        "9 attention heads: they are whole on each device (nearest that does: 1 or 3)",
        "3 key/value heads: they are whole on each device (nearest that does: 1 or 3)",
        "97 tokens of the vocabulary: they are whole on each device (nearest that does: 1 or 97)",
    ]
    assert all(line.startswith("mesh.tensor=2 does not divide") for line in lines)
    even = dataclasses.replace(config, num_heads=8, num_kv_heads=2, vocab_size=96)
    assert replicated(even, make_mesh(MeshOptions(fsdp=2, tensor=2))) == []


def test_the_layout_of_sampling_is_of_the_same_devices():
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    assert sampling_mesh(SamplingMeshOptions(), mesh) is mesh
    other = sampling_mesh(SamplingMeshOptions(data=-1, tensor=2), mesh)
    assert dict(other.shape) == {"data": 2, "fsdp": 1, "tensor": 2}
    assert other.devices.flatten().tolist() == mesh.devices.flatten().tolist()
    for bad in ({"data": 2}, {"tensor": 8}, {"data": -1, "tensor": 3}, {"data": -1, "fsdp": -1}):
        with pytest.raises(UserError, match=r"sampling uses the 4 devices of mesh"):
            sampling_mesh(SamplingMeshOptions(**bad), mesh)
