"""Attention of every platform against the plain formula: values, gradients, memory, meshes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.models.attention import attention
from dast_jax.models.blockwise import Rows, blockwise_attention
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh
from dast_jax.models.splash import splash_attention

HEADS, KV_HEADS, WIDTH = 4, 2, 8


def dense(q, k, v, rows, window=None):
    """The formula in float64 with all scores at once; positions that are padding give 0."""
    length, groups = q.shape[1], q.shape[2] // k.shape[2]
    k, v = (np.repeat(np.asarray(x, np.float64), groups, axis=2) for x in (k, v))
    scores = np.einsum("bqnh,bknh->bnqk", np.asarray(q, np.float64), k) / np.sqrt(q.shape[-1])
    seen = np.broadcast_to(np.tri(length, dtype=bool), (len(q), length, length)).copy()
    if rows.segments is not None:
        segments = np.asarray(rows.segments)
        same = segments[:, :, None] == segments[:, None, :]
        if rows.parents is not None:
            parents = np.asarray(rows.parents)
            same |= (parents[:, :, None] == segments[:, None, :]) & (parents > 0)[:, :, None]
        seen &= same
    at = np.arange(length)[None] if rows.positions is None else np.asarray(rows.positions)
    if window is not None:
        seen &= at[:, :, None] - at[:, None, :] < window
    weights = np.exp(np.where(seen[:, None], scores, -np.inf) - scores.max(-1, keepdims=True))
    return np.einsum("bnqk,bknh->bqnh", weights / weights.sum(-1, keepdims=True), v)


def dense_jax(q, k, v, rows, window=None):
    """The same in float32, differentiable."""
    from dast_jax.models.blockwise import visible

    length, groups = q.shape[1], q.shape[2] // k.shape[2]
    k, v = (jnp.repeat(x, groups, axis=2) for x in (k, v))
    scores = jnp.einsum("bqnh,bknh->bnqk", q, k, precision="highest") / np.sqrt(q.shape[-1])
    seen = visible(rows, rows, jnp.arange(length), jnp.arange(length), window)
    seen = seen[:, None] if seen.ndim == 3 else seen
    weights = jax.nn.softmax(jnp.where(seen, scores, -1e30), axis=-1)
    return jnp.einsum("bnqk,bknh->bqnh", weights, v, precision="highest")


def inputs(length, batch=2, heads=HEADS, kv_heads=KV_HEADS, width=WIDTH, seed=0):
    random = np.random.default_rng(seed)
    shapes = ((batch, length, n, width) for n in (heads, kv_heads, kv_heads))
    return tuple(jnp.asarray(random.standard_normal(s), jnp.float32) for s in shapes)


def packed(lengths, length, families=()):
    """A row of segments of these lengths; a segment whose index is in `families` is its predecessor's child.

    Children of one parent follow each other, and their positions continue the parent's.
    """
    segments, parents, positions = (np.zeros(length, np.int32) for _ in range(3))
    start, root = 0, 0
    for number, size in enumerate(lengths, start=1):
        child = number > 1 and number in families
        root = root if child else number
        end = min(start + size, length)
        segments[start:end] = number
        parents[start:end] = root if child else 0
        positions[start:end] = np.arange(end - start) + (lengths[root - 1] if child else 0)
        start = end
    return segments, parents, positions


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def ours(q, k, v, rows, window, block, together):
    """Values, and the gradients of a sum weighted by position."""

    def loss(q, k, v):
        out = blockwise_attention(q, k, v, rows, window=window, block=block, together=together)
        weights = 1.0 if rows.segments is None else (rows.segments > 0)[..., None, None]
        return jnp.sum(jnp.sin(out) * weights), out

    return (*jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v),)


@functools.partial(jax.jit, static_argnums=4)
def expected(q, k, v, rows, window):
    def loss(q, k, v):
        out = dense_jax(q, k, v, rows, window)
        weights = 1.0 if rows.segments is None else (rows.segments > 0)[..., None, None]
        return jnp.sum(jnp.sin(out) * weights), out

    return (*jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v),)


def check(q, k, v, rows, window=None, block=8, together=False):
    grads, out = ours(q, k, v, rows, window, block, together)
    want_grads, want = expected(q, k, v, rows, window)
    real = np.ones(q.shape[:2], bool) if rows.segments is None else np.asarray(rows.segments) > 0
    np.testing.assert_allclose(np.asarray(out)[real], np.asarray(want)[real], atol=2e-6)
    np.testing.assert_allclose(np.asarray(out)[real], dense(q, k, v, rows, window)[real], atol=2e-6)
    assert np.isfinite(out).all()
    for got, wanted in zip(grads, want_grads, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("length", [3, 20, 32])
def test_one_text_a_row(length, window, together):
    check(*inputs(length), Rows(), window, together=together)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("window", [None, 5])
@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 14), min_size=1, max_size=8), min_size=2, max_size=2),
    families=st.sets(st.integers(2, 8)),
)
def test_segments_and_their_children(window, together, lengths, families):
    rows = Rows(*(np.stack(x) for x in zip(*(packed(n, 40, families) for n in lengths), strict=True)))
    check(*inputs(40), rows, window, together=together)


def test_responses_see_their_prompt_but_not_each_other():
    rows = Rows(*(x[None] for x in packed((6, 9, 7), 24, {2, 3})))
    q, k, v = inputs(24, batch=1)
    out = blockwise_attention(q, k, v, rows, block=8)
    for cut in (slice(0, 15), np.r_[0:6, 15:22]):  # prompt and response, as one text
        alone = blockwise_attention(*(x[:, cut] for x in (q, k, v)), Rows(), block=8)
        np.testing.assert_allclose(out[:, cut], alone, atol=1e-6)


def test_no_array_of_length_squared_exists():
    q, k, v = inputs(512, batch=1)
    jaxpr = jax.make_jaxpr(
        lambda *a: jax.grad(lambda *b: blockwise_attention(*b, Rows()).sum(), (0, 1, 2))(*a)
    )
    text = str(jaxpr(q, k, v))
    assert "512,64" not in text.replace(" ", "")
    assert "512,512" not in text
    assert "while" in text


def test_blocks_that_no_query_sees_are_not_computed():
    """Keys outside of the visited blocks may be anything, even what spoils a sum."""
    rows = Rows(packed((8, 8), 24)[0][None])
    q, k, v = inputs(24, batch=1)
    spoilt = blockwise_attention(q, k.at[:, 8:].set(np.nan), v.at[:, 8:].set(np.nan), rows, block=8)
    np.testing.assert_array_equal(spoilt[:, :8], blockwise_attention(q, k, v, rows, block=8)[:, :8])
    later = blockwise_attention(q, k.at[:, :8].set(np.nan), v.at[:, :8].set(np.nan), rows, block=8)
    assert np.isfinite(later[:, 8:]).all()


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (4, 1), (3, 3)])
def test_a_mesh_computes_the_same(heads, kv_heads):
    """Rows and heads are split over the mesh; one key head is copied for the queries, three stay whole."""
    rows = Rows(*(jnp.stack([x] * 4) for x in packed((9, 7, 4), 24, {2})))
    q, k, v = inputs(24, batch=4, heads=heads, kv_heads=kv_heads)

    @jax.jit
    def run(q, k, v):
        loss = lambda q, k, v: jnp.sum(jnp.sin(attention(q, k, v, rows.segments, parents=rows.parents)))  # noqa: E731
        return jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)

    whole = run(q, k, v)
    with jax.set_mesh(make_mesh(MeshOptions(fsdp=2, tensor=2))):
        text = run.lower(q, k, v).compile().as_text()
        split = run(q, k, v)
    assert "all-gather" not in text.split("ENTRY")[0]  # not in a loop: what is gathered is the result
    for got, want in zip(jax.tree.leaves(split), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, 100])
def test_the_tpu_kernel_computes_the_same(window):
    """The Pallas kernel, interpreted: values and gradients."""
    segments = packed((100, 60, 70), 256)[0][None]
    q, k, v = inputs(256, batch=1, width=128)
    rows = Rows(segments)
    weights = (segments > 0)[..., None, None]

    def both(attend):
        loss = lambda q, k, v: jnp.sum(jnp.sin(attend(q, k, v)) * weights)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(q, k, v)

    got = both(
        lambda q, k, v: splash_attention(q, k, v, jnp.asarray(segments), window=window, interpret=True)
    )
    want = both(lambda q, k, v: dense_jax(q, k, v, rows, window))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("chips", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_it_compiles_for_tpus_with_the_kernel_and_little_memory(chips, monkeypatch):
    """8,192 tokens and 16 heads a chip: one array of scores would be 4.3 GB."""
    pytest.importorskip(
        "libtpu", reason="libtpu, the TPU compiler, is not installed (pip install 'dast_jax[plan]')"
    )
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": f"{chips.split(':')[0]}-4",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    from jax.experimental import topologies

    devices = np.array(topologies.get_topology_desc(chips, "tpu").devices).reshape(1, 2, 2)
    mesh = jax.sharding.Mesh(
        devices, ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3
    )

    def loss(q, k, v, segments):
        return attention(q, k, v, segments).astype(jnp.float32).sum()

    def struct(shape, dtype, spec):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=jax.NamedSharding(mesh, spec))

    split = jax.P("fsdp", None, "tensor")
    q, k = (struct((2, 8192, n, 128), jnp.bfloat16, split) for n in (32, 8))
    segments = struct((2, 8192), jnp.int32, jax.P("fsdp"))
    with jax.set_mesh(mesh):
        step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
        compiled = step.trace(q, k, k, segments).lower(lowering_platforms=("tpu",)).compile()
    assert "tpu_custom_call" in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.3e9
