"""The model against transformers, against itself (cache, packing, remat), and row by row."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from model_cases import case, forward, our_logits
from reference.llama_cases import CASES, KEPT, inputs

from dast_jax.models.cache import KVCache, copy_row, empty_cache, extend

REFERENCE = Path(__file__).parents[1] / "reference" / "llama_logits.npz"


@pytest.mark.parametrize("name", CASES)
def test_logits_equal_the_reference(name):
    with np.load(REFERENCE) as reference:
        expected, std = reference[name], float(reference[f"{name}/std"])
    difference = np.abs(our_logits(name)[:, list(KEPT)] - expected).max()
    assert difference <= 1e-4 * std


@pytest.mark.parametrize("name", CASES)
def test_logits_equal_transformers_live(name):
    pytest.importorskip(
        "torch", reason="torch is not installed (extra [parity]); reference numbers are tested"
    )
    from reference.make_llama_logits import reference_logits

    expected = reference_logits(name)
    assert np.abs(our_logits(name) - expected).max() <= 1e-4 * expected.std()


def test_there_are_enough_cases():
    assert len(CASES) >= 12


@pytest.mark.parametrize("name", ["grouped", "llama3_near", "all_biases"])
def test_prefill_and_decode_equal_the_whole_row(name):
    config, graphdef, params = case(name)
    tokens, _ = inputs(name)
    rows, length = tokens.shape
    positions = np.broadcast_to(np.arange(length), tokens.shape)
    whole = np.asarray(forward(graphdef, params, tokens, positions))
    lengths = np.array([10, 6])
    padded = np.where(np.arange(12) < lengths[:, None], tokens[:, :12], 0)

    @jax.jit
    def prefill(params, tokens, lengths):
        model = nnx.merge(graphdef, params)
        hidden, cache = model.prefill(tokens, lengths)
        return model.logits(hidden), extend(cache, length - 12)

    @jax.jit
    def decode(params, tokens, positions, cache):
        model = nnx.merge(graphdef, params)
        hidden, cache = model.decode(tokens, positions, cache)
        return model.logits(hidden), cache

    logits, cache = prefill(params, padded, lengths)
    np.testing.assert_allclose(logits, whole[np.arange(rows), lengths - 1], atol=2e-5)
    assert cache.k[0].shape == (rows, config.num_kv_heads, length, config.head_dim)
    for step in range(6):
        at = lengths + step
        logits, cache = decode(params, tokens[np.arange(rows), at], at, cache)
        np.testing.assert_allclose(logits, whole[np.arange(rows), at], atol=2e-5)


@pytest.mark.parametrize("name", ["grouped", "multi_query"])
@pytest.mark.parametrize("slots", [5, 32])
def test_a_decoded_row_has_the_same_bits_whatever_its_neighbors(name, slots):
    config, graphdef, params = case(name)
    random = np.random.default_rng(0)
    shape = (slots, config.num_kv_heads, 40, config.head_dim)
    cache = KVCache(*(tuple(random.standard_normal(shape, np.float32) for _ in range(3)) for _ in range(2)))
    tokens, positions = random.integers(0, config.vocab_size, slots), random.integers(0, 40, slots)

    @jax.jit
    def decode(params, tokens, positions, cache):
        model = nnx.merge(graphdef, params)
        hidden, cache = model.decode(tokens, positions, cache)
        return model.logits(hidden)

    expected = np.asarray(decode(params, tokens, positions, cache))
    order = random.permutation(slots)
    moved = decode(params, tokens[order], positions[order], jax.tree.map(lambda x: x[order], cache))
    assert np.array_equal(expected[order], moved)

    # Other tokens, other positions and other cache contents in all rows but the first; unseen entries of
    # the first overwritten.
    unseen = np.arange(40) > positions[0]

    def spoil(x):
        return 9 * random.standard_normal(x.shape, np.float32)

    spoilt = jax.tree.map(spoil, cache)
    for ours, theirs in zip(jax.tree.leaves(spoilt), jax.tree.leaves(cache), strict=True):
        ours[0] = np.where(unseen[:, None], ours[0], theirs[0])
    others = random.integers(0, 40, slots)
    others[0], tokens[1:] = positions[0], 3
    assert np.array_equal(expected[0], decode(params, tokens, others, spoilt)[0])


def test_a_prefilled_row_has_the_same_bits_whatever_its_neighbors():
    config, graphdef, params = case("grouped")
    random = np.random.default_rng(1)
    tokens, lengths = random.integers(0, config.vocab_size, (8, 24)), random.integers(1, 25, 8)
    prefill = jax.jit(lambda params, *args: nnx.merge(graphdef, params).prefill(*args))
    expected = prefill(params, tokens, lengths)
    order = random.permutation(8)
    moved = prefill(params, tokens[order], lengths[order])
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(moved), strict=True):
        assert np.array_equal(np.asarray(one)[order], other)


def test_packed_segments_see_only_themselves():
    _, graphdef, params = case("grouped")
    random = np.random.default_rng(2)
    first, second = random.integers(0, 97, 7), random.integers(0, 97, 5)
    packed = np.concatenate([first, second, np.zeros(4, int)])[None]
    positions = np.concatenate([np.arange(7), np.arange(5), np.zeros(4, int)])[None]
    segments = np.array([[1] * 7 + [2] * 5 + [0] * 4])
    together = np.asarray(forward(graphdef, params, packed, positions, segments))[0]
    for part, at in ((first, 0), (second, 7)):
        alone = np.asarray(forward(graphdef, params, part[None], np.arange(len(part))[None]))[0]
        np.testing.assert_allclose(together[at : at + len(part)], alone, atol=2e-5)
    assert np.isfinite(together).all()


def test_remat_changes_no_gradient():
    tokens, positions = inputs("grouped")
    gradients = []
    for remat in (False, True):
        _, graphdef, params = case("grouped", remat=remat)
        loss = lambda params, g=graphdef: jnp.square(forward(g, params, tokens, positions)).mean()  # noqa: E731
        gradients.append(jax.jit(jax.grad(loss))(params))
    for one, other in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradients[0]))


def test_bfloat16_compute_keeps_float32_parameters_and_logits():
    _, graphdef, params = case("grouped", compute_dtype="bfloat16")
    logits = forward(graphdef, params, *inputs("grouped"))
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    expected = our_logits("grouped")
    assert 0 < np.abs(logits - expected).max() < 0.2 * expected.std()


def test_the_cache_is_written_in_place():
    """A decode loop on a donated cache must not need a second copy of the cache."""
    config, graphdef, params = case("grouped")
    cache = empty_cache(3, 16, config.num_kv_heads, 512, config.head_dim, jnp.float32)

    def steps(params, tokens, positions, cache):
        model = nnx.merge(graphdef, params)
        return jax.lax.fori_loop(0, 4, lambda i, cache: model.decode(tokens, positions + i, cache)[1], cache)

    tokens = jnp.zeros(16, jnp.int32)
    compiled = jax.jit(steps, donate_argnums=3).lower(params, tokens, tokens, cache).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(cache))
    assert compiled.memory_analysis().temp_size_in_bytes < size / 2


def test_copy_row_copies_one_row_and_nothing_else():
    target, source = empty_cache(2, 3, 2, 8, 4, jnp.float32), empty_cache(2, 2, 2, 5, 4, jnp.float32)
    source = jax.tree.map(lambda x: x + jnp.arange(1.0, 3.0)[:, None, None, None], source)
    copied = copy_row(target, jnp.int32(2), source, jnp.int32(1))
    for array in jax.tree.leaves(copied):
        assert (array[2, :, :5] == 2).all()
        assert (array[2, :, 5:] == 0).all()
        assert (array[:2] == 0).all()
