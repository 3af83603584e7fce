"""Training adapters beside frozen weights: gradients, resume, meshes, DPO's reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training as tiny
from flax import nnx
from test_preference import OPTIONS as PAIR_OPTIONS
from test_preference import pairs
from test_step import micro, stacked

from dast_jax.errors import InterruptedRunError
from dast_jax.models.load import abstract_model
from dast_jax.models.lora import fresh_adapters, join_adapters, lora_of, merged, split_adapters
from dast_jax.models.options import LoraOptions, MeshOptions
from dast_jax.models.sharding import make_mesh, shard_params
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.preference import reference_logprobs, train_preferences
from dast_jax.training.step import SFTObjective, objective_grads
from dast_jax.training.trainer import train

LORA = lora_of(LoraOptions(rank=2, alpha=3.0))
OPTIONS = dataclasses.replace(tiny.OPTIONS, epochs=4, learning_rate=3e-2, eps=1e-3)


def graph():
    return abstract_model(tiny.CONFIG, lora=LORA)[0]


def adapters(seed=0, *, trained=False):
    """Fresh adapters, or ones that have an effect."""
    template, _ = split_adapters(abstract_model(tiny.CONFIG, lora=LORA)[1])
    fresh = fresh_adapters(template, seed=seed)
    if not trained:
        return fresh
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + jnp.asarray(0.2 * rng.standard_normal(x.shape), x.dtype), fresh)


def run(**others):
    params = others.pop("params", None) or adapters()
    given = {"options": OPTIONS, "seed": 3, "pad_id": 0, "frozen": tiny.model()[1]} | others
    return train(graph(), params, tiny.examples(), **given)


@pytest.fixture(scope="module")
def unbroken():
    """The result of a whole run, its losses, and the base model's bytes before it."""
    before = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tiny.model()[1])]
    losses = []
    return run(on_step=lambda step, total, metrics: losses.append(metrics["loss"])), losses, before


def test_gradients_are_those_of_the_merged_weights_by_the_chain_rule():
    """With W' = W + s A B: dL/dA = s dL/dW' Bᵀ and dL/dB = s Aᵀ dL/dW'."""
    graphdef, base = tiny.model()
    given = adapters(trained=True)
    whole = merged(join_adapters(given, base), LORA)
    batch, objective = micro(stacked(tiny.examples(10)), 1), SFTObjective(head_chunk=8)
    step = jax.jit(objective_grads, static_argnums=(0, 3))
    loss, _, found = step(graph(), given, batch, objective, base)
    expected_loss, _, dense = step(graphdef, whole, batch, objective)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert set(found.layers) == {"q", "k", "v", "o", "gate", "up", "down"}
    for name in found.layers:
        a, b = (getattr(given.layers[name], part).get_value() for part in ("lora_a", "lora_b"))
        kernel = dense.layers[name].kernel.get_value()
        flat_a = np.asarray(a).reshape(2, -1, 2)
        flat_b = np.asarray(b).reshape(2, 2, -1)
        at_w = np.asarray(kernel).reshape(2, flat_a.shape[1], -1)
        for part, want in (
            ("lora_a", 1.5 * at_w @ flat_b.transpose(0, 2, 1)),
            ("lora_b", 1.5 * flat_a.transpose(0, 2, 1) @ at_w),
        ):
            got = np.asarray(getattr(found.layers[name], part).get_value()).reshape(want.shape)
            assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), (name, part)


def test_training_lowers_the_loss_and_leaves_the_base_as_it_was(unbroken):
    result, losses, before = unbroken
    assert len(losses) > 3
    assert losses[-1] < losses[0]
    paths = [path[-1] for path, _ in nnx.to_flat_state(result.params)]
    assert set(paths) == {"lora_a", "lora_b"}
    assert [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tiny.model()[1])] == before
    assert not tiny.same_bits(result.params, adapters())


def test_a_cut_training_resumes_to_the_same_bits_from_adapters_alone(unbroken, tmp_path):
    def stop(step, total, metrics):
        if step == 2:
            raise InterruptedRunError("stopped")

    checkpoints = TrainCheckpoints(tmp_path, seconds=0)
    with pytest.raises(InterruptedRunError):
        run(checkpoints=checkpoints, on_step=stop)
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(adapters()))
    saved = sum(leaf.nbytes for leaf in jax.tree.leaves(checkpoints.restore(like())[0]))
    assert saved == 3 * weights + 4  # adapters, two moments, a count: nothing of the base
    again = run(checkpoints=checkpoints)
    assert tiny.same_bits(again.params, unbroken[0].params)


def like():
    from dast_jax.training.step import init_optimizer

    return adapters(), init_optimizer(OPTIONS, adapters())


def test_a_mesh_gives_the_same_adapters(unbroken):
    result, losses, _ = unbroken
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    seen = []
    split = run(
        params=shard_params(adapters(), mesh),
        frozen=shard_params(tiny.model()[1], mesh),
        mesh=mesh,
        on_step=lambda step, total, metrics: seen.append(metrics["loss"]),
    )
    np.testing.assert_allclose(seen, losses, rtol=1e-4)
    assert tiny.close(split.params, result.params, rtol=1e-3)
    up = split.params.layers.up.lora_b.get_value()
    assert up.addressable_shards[0].data.shape == (2, 2, 16)


def test_the_reference_of_pairs_is_the_base_model():
    graphdef, base = tiny.model()
    given = pairs()
    common = {"options": PAIR_OPTIONS, "pad_id": 0}
    expected, _ = reference_logprobs(graphdef, base, given, **common)
    found, _ = reference_logprobs(graph(), join_adapters(adapters(), base), given, **common)
    np.testing.assert_array_equal(found, expected)
    first = []
    train_preferences(
        graph(), adapters(), given, found, seed=3, frozen=base, **common,
        on_step=lambda step, total, metrics: first.append(metrics),
    )  # fmt: skip
    assert first[0]["kl"] == pytest.approx(0, abs=1e-5)  # training starts at the reference
    assert first[0]["loss"] == pytest.approx(np.log(2), rel=1e-4)
    assert first[-1]["loss"] < first[0]["loss"]
