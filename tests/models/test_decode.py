"""Decoding against the whole row and against dense attention, and bit by bit against other neighbors."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from model_cases import case, forward
from reference.llama_cases import inputs

from dast_jax.models.cache import (
    PROMPT_BLOCK,
    KVCache,
    Prompts,
    Suffixes,
    append,
    blocked,
    empty_prompts,
    empty_suffixes,
    empty_window,
    prompt_block,
    store_row,
    suffix_block,
)
from dast_jax.models.decode_attention import DecodeContext, decode_attention, tick_context
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh, shard_params, shards_of
from dast_jax.sampling.groups import group_slots

W = 4
"""Steps of a tick."""

on_device = functools.partial(jax.tree.map, jnp.asarray)


def empty(config, slots):
    args = (config.num_layers, slots, config.num_kv_heads)
    return (
        empty_suffixes(*args, 16, W, config.head_dim, jnp.float32),
        empty_window(*args, W, config.head_dim, jnp.float32),
    )


@pytest.mark.parametrize("name", ["grouped", "llama3_near", "all_biases"])
def test_prefill_and_decode_equal_the_whole_row(name):
    """Each row in several slots, some of which share a group: logits as without a cache."""
    config, graphdef, params = case(name)
    tokens, _ = inputs(name)
    rows, length = tokens.shape
    whole = np.asarray(forward(graphdef, params, tokens, np.broadcast_to(np.arange(length), tokens.shape)))
    lengths = np.array([10, 6])
    padded = np.where(np.arange(12) < lengths[:, None], tokens[:, :12], 0)
    row_of = np.array([1, 0, 1, 1, 0])  # of each slot
    groups = on_device(group_slots(np.ones(5, bool), row_of, 2))

    @jax.jit
    def prefill(params, tokens, lengths):
        model = nnx.merge(graphdef, params)
        hidden, cache = model.prefill(tokens, lengths)
        return model.logits(hidden), blocked(cache, prompt_block(12))

    @jax.jit
    def decode(params, tokens, positions, prompts, suffixes, stored, window, step):
        model = nnx.merge(graphdef, params)
        context = DecodeContext(prompts, jnp.asarray(lengths), suffixes, stored, groups)
        hidden, window = model.decode(tokens, positions, context, window, step)
        return model.logits(hidden), window

    logits, prompts = prefill(params, padded, lengths)
    np.testing.assert_allclose(logits, whole[np.arange(rows), lengths - 1], atol=2e-5)
    suffixes, window = empty(config, 5)
    for i in range(6):
        at, stored = lengths[row_of] + i, np.full(5, i // W * W)
        if i and i % W == 0:
            suffixes = append(suffixes, window, jnp.asarray(stored - W))
        logits, window = decode(
            params, tokens[row_of, at], at, prompts, suffixes, stored, window, np.int32(i % W)
        )
        np.testing.assert_allclose(logits, whole[row_of, at], atol=2e-5)


def random_context(slots, rows, *, config, seed=0, blocks=3):
    """Prompts up to `blocks` long, responses up to two, and the slots' rows."""
    random = np.random.default_rng(seed)
    kv, h = config.num_kv_heads, config.head_dim
    normal = functools.partial(random.standard_normal, dtype=np.float32)
    layers = range(config.num_layers)
    block = suffix_block(W)
    return {
        "prompts": Prompts(
            tuple(normal((rows, blocks, kv, h, PROMPT_BLOCK)) for _ in layers),
            tuple(normal((rows, blocks, kv, PROMPT_BLOCK, h)) for _ in layers),
        ),
        "lengths": random.integers(1, blocks * PROMPT_BLOCK + 1, rows),
        "suffixes": Suffixes(
            tuple(normal((2, slots, kv, h, block)) for _ in layers),
            tuple(normal((2, slots, kv, block, h)) for _ in layers),
        ),
        "stored": random.integers(0, 2 * block // W + 1, slots) * W,
        "row_of": random.integers(0, rows, slots),
        "window": (normal((slots, kv, h, W)), normal((slots, kv, W, h))),
        "q": normal((slots, config.num_heads, h)),
    }


def attended(c, size, live=None, mesh=None, reach=None):
    live = np.ones(len(c["stored"]), bool) if live is None else live
    parts = shards_of(mesh, "batch")
    rows_of_part = len(c["lengths"]) // parts  # the numbers of rows begin at 0 in each part
    groups = group_slots(live, c["row_of"] % rows_of_part, size, parts)

    @jax.jit
    def run(q, prompts, lengths, suffixes, stored, groups, k, v):
        return decode_attention(
            q, tick_context(prompts, lengths, suffixes, stored, groups), 0, k, v, jnp.int32(2), reach
        )

    args = (c["q"], c["prompts"], c["lengths"], c["suffixes"], c["stored"], groups, *c["window"])
    if mesh is None:
        return np.asarray(run(*args))
    with jax.set_mesh(mesh):
        return np.asarray(run(*args))


def dense(c, slot, reach=None):
    """softmax(q kᵀ / √H) v over all keys of one slot at once, or the last `reach`, in float64."""
    length, stored = c["lengths"][c["row_of"][slot]], c["stored"][slot]

    def flat(keys, values):  # [NB, KV, H, C], [NB, KV, C, H] → [KV, T, H]
        keys = np.concatenate(list(np.swapaxes(keys, -1, -2)), axis=1)
        return keys, np.concatenate(list(values), axis=1)

    row = c["row_of"][slot]
    prompt = flat(c["prompts"].k[0][row], c["prompts"].v[0][row])
    own = flat(c["suffixes"].k[0][:, slot], c["suffixes"].v[0][:, slot])
    now = flat(c["window"][0][None, slot], c["window"][1][None, slot])
    k, v = (
        np.concatenate([p[:, :length], o[:, :stored], w[:, :3]], axis=1, dtype=np.float64)[:, -(reach or 0) :]
        for p, o, w in zip(prompt, own, now, strict=True)
    )
    heads, kv_heads = c["q"].shape[1], len(k)
    q = c["q"][slot].astype(np.float64).reshape(kv_heads, heads // kv_heads, -1)
    scores = np.einsum("kqh,kth->kqt", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("kqt,kth->kqh", weights, v).reshape(heads, -1)


@pytest.mark.parametrize("mesh", [None, {"fsdp": 2, "tensor": 2}])
@pytest.mark.parametrize(("size", "blocks"), [(1, 1), (1, 3), (4, 1), (8, 3)])
def test_attention_equals_the_dense_one(size, blocks, mesh):
    config, _, _ = case("grouped")
    c = random_context(8, 6, config=config, blocks=blocks)
    if mesh is not None:  # the prompts of the first four slots are in the first three rows
        mesh = make_mesh(MeshOptions(**mesh))
        c["row_of"] = c["row_of"] % 3 + 3 * (np.arange(8) // 4)
    found = attended(c, size, mesh=mesh)
    for slot in range(8):
        np.testing.assert_allclose(found[slot], dense(c, slot), atol=2e-5)


@pytest.mark.parametrize("reach", [2, 20, 60])
@pytest.mark.parametrize(("size", "blocks"), [(1, 1), (1, 3), (4, 3)])
def test_attention_within_a_window_equals_the_dense_one(size, blocks, reach):
    config, _, _ = case("grouped")
    c = random_context(8, 6, config=config, blocks=blocks)
    found = attended(c, size, reach=reach)
    for slot in range(8):
        np.testing.assert_allclose(found[slot], dense(c, slot, reach), atol=2e-5)


@pytest.mark.parametrize("name", ["grouped", "multi_query"])
@pytest.mark.parametrize(("slots", "size", "blocks"), [(5, 1, 1), (5, 1, 3), (5, 4, 3), (24, 8, 3)])
def test_a_slot_has_the_same_bits_whatever_its_place_and_neighbors(name, slots, size, blocks):
    config, _, _ = case(name)
    c = random_context(slots, 6, config=config, blocks=blocks)
    expected = attended(c, size)
    random = np.random.default_rng(1)
    order = random.permutation(slots)
    moved = {
        **c,
        "suffixes": jax.tree.map(lambda x: x[:, order], c["suffixes"]),
        "window": tuple(x[order] for x in c["window"]),
        **{key: c[key][order] for key in ("q", "stored", "row_of")},
    }
    assert np.array_equal(attended(moved, size), expected[order])
    # Alone, in every slot.
    other = random_context(slots, 6, config=config, seed=2, blocks=blocks)
    for slot in range(slots):
        alone = attended(c, size, live=np.arange(slots) == slot)
        assert np.array_equal(alone[slot], expected[slot])
    # Among others: other prompts, lengths, responses, whatever is masked of its own overwritten.
    mine, row = slots - 1, c["row_of"][slots - 1]
    for length, stored in ((1, 0), (blocks * PROMPT_BLOCK, 2 * suffix_block(W)), (PROMPT_BLOCK, W)):
        mixed = {**other, "q": other["q"].copy(), "row_of": other["row_of"].copy()}
        mixed["lengths"] = np.where(np.arange(6) == row, c["lengths"], length)
        mixed["stored"] = np.where(np.arange(slots) == mine, c["stored"], stored)
        mixed["q"][mine], mixed["row_of"][mine] = c["q"][mine], row
        for new, old, at, seen, axis in (
            (mixed["prompts"].k[0], c["prompts"].k[0], np.s_[row], c["lengths"][row], -1),
            (mixed["prompts"].v[0], c["prompts"].v[0], np.s_[row], c["lengths"][row], -2),
            (mixed["suffixes"].k[0], c["suffixes"].k[0], np.s_[:, mine], c["stored"][mine], -1),
            (mixed["suffixes"].v[0], c["suffixes"].v[0], np.s_[:, mine], c["stored"][mine], -2),
        ):
            block = new.shape[axis]
            position = np.arange(len(new[at]))[:, None] * block + np.arange(block)
            position = position[:, None, None, :] if axis == -1 else position[:, None, :, None]
            new[at] = np.where(position < seen, old[at], new[at])
        for new, old in zip(mixed["window"], c["window"], strict=True):
            new[mine] = old[mine]
        assert np.array_equal(attended(mixed, size)[mine], expected[mine])


def test_decoding_over_a_mesh_equals_one_device():
    config, graphdef, params = case("grouped")
    tokens = np.arange(4, dtype=np.int32)
    lengths = np.array([3, 140])
    row_of = np.array([0, 0, 1, 1])
    groups = on_device(group_slots(np.ones(4, bool), row_of, 2))
    apart = on_device(group_slots(np.ones(4, bool), np.zeros(4, int), 2, shards=2))
    normal = lambda x: jnp.asarray(np.random.default_rng(0).standard_normal(x.shape), x.dtype)  # noqa: E731
    args = (config.num_layers, 2, config.num_kv_heads, 140, config.head_dim, jnp.float32)
    prompts = jax.tree.map(normal, empty_prompts(*args))
    suffixes, window = empty(config, 4)

    def decode(params, window, groups):
        model = nnx.merge(graphdef, params)
        context = DecodeContext(prompts, jnp.asarray(lengths), suffixes, jnp.zeros(4, jnp.int32), groups)
        for step in range(3):
            at = jnp.asarray(lengths[row_of] + step)
            hidden, window = model.decode(jnp.asarray(tokens + step), at, context, window, jnp.int32(step))
        return model.logits(hidden)

    expected = jax.jit(decode)(params, window, groups)
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    with jax.set_mesh(mesh):
        logits = jax.jit(decode)(shard_params(params, mesh), window, apart)
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_appending_is_in_place_and_puts_each_window_behind_its_slots_response():
    block = suffix_block(W)
    suffixes = empty_suffixes(2, 3, 2, 5 * block, W, 4, jnp.float32)
    window = jax.tree.map(
        lambda x: x + jnp.arange(1.0, 4.0)[:, None, None, None], empty_window(2, 3, 2, W, 4, jnp.float32)
    )
    stored = np.array([0, block - W, 4 * block + W])
    step = jax.jit(append, donate_argnums=0).lower(suffixes, window, stored).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(suffixes))
    assert step.memory_analysis().temp_size_in_bytes < size / 2
    found = step(suffixes, window, stored)
    for kind, axis in (("k", -1), ("v", -2)):
        for array in getattr(found, kind):
            # [NB, S, KV, …] → per slot [NB · C], all heads and elements alike
            flat = np.asarray(jnp.moveaxis(array, axis, 2)[:, :, :, 0, 0]).swapaxes(0, 1).reshape(3, -1)
            expected = np.zeros_like(flat)
            for slot, at in enumerate(stored):
                expected[slot, at : at + W] = slot + 1
            assert np.array_equal(flat, expected)


def test_store_row_stores_one_row_and_nothing_else():
    target = empty_prompts(2, 3, 2, 2 * PROMPT_BLOCK, 4, jnp.float32)
    rows = jnp.arange(1.0, 3.0)[:, None, None, None] * jnp.ones((2, 2, 5, 4))
    source = blocked(KVCache((rows, rows), (rows, rows)), PROMPT_BLOCK)
    stored = store_row(target, jnp.int32(2), source, jnp.int32(1))
    for kind, axis in (("k", -1), ("v", -2)):
        for array in getattr(stored, kind):
            flat = np.moveaxis(np.asarray(array), axis, -1)
            assert (flat[2, 0, :, :, :5] == 2).all()
            assert (flat[2, 0, :, :, 5:] == 0).all()
            assert (flat[2, 1] == 0).all()
            assert (flat[:2] == 0).all()
