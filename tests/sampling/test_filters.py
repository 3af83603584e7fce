"""Top-k, top-p and the draw itself, against sorting and against the softmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dast_jax.sampling.filters import choose, in_nucleus, keep_top_k

V = 16


@jax.jit
def top_p_of(probabilities, top_p):
    """Which tokens [S, V] the nucleus holds, each asked for by itself."""
    total = probabilities.sum(-1)
    return jax.vmap(lambda of: in_nucleus(probabilities, of, top_p, total), 1, 1)(probabilities)


top_k_of = jax.jit(keep_top_k, static_argnums=1)


def sorted_top_p(probabilities: np.ndarray, top_p: float) -> np.ndarray:
    """The nucleus by sorting: most probable first until the mass is `top_p`, and all ties with the last."""
    order = np.argsort(-probabilities, kind="stable")
    mass = np.cumsum(probabilities[order], dtype=np.float64)
    reached = np.flatnonzero(mass >= top_p)
    last = order[reached[0]] if len(reached) else order[-1]
    return probabilities >= probabilities[last]


def sorted_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    return logits >= np.sort(logits)[::-1][k - 1]


# Multiples of 1/1024 that sum to 1: every partial sum is exact in float32, so nothing hides in rounding.
dyadic = st.lists(st.integers(0, 1024), min_size=V - 1, max_size=V - 1).map(
    lambda cuts: np.diff([0, *sorted(cuts), 1024]).astype(np.float32) / np.float32(1024)
)


@settings(max_examples=300, deadline=None)
@given(dyadic, st.integers(1, 1023))
def test_top_p_is_the_exact_nucleus(probabilities, target):
    top_p = target / 1024
    kept = np.asarray(top_p_of(probabilities[None], top_p))[0]
    np.testing.assert_array_equal(kept, sorted_top_p(probabilities, top_p))
    assert probabilities[kept].sum() >= top_p
    smaller = kept & (probabilities > probabilities[kept].min())
    assert probabilities[smaller].sum() < top_p


def test_top_p_of_softmaxes_differs_from_sorting_only_where_rounding_decides():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(100, 400)).astype(np.float32) * rng.uniform(0.1, 8, (100, 1)).astype(np.float32)
    probabilities = np.asarray(jax.nn.softmax(logits, axis=-1))
    for top_p in (0.1, 0.5, 0.9, 0.99):
        kept = np.asarray(top_p_of(probabilities, top_p))
        for row, mine in zip(probabilities, kept, strict=True):
            low, high = sorted_top_p(row, top_p - 1e-6), sorted_top_p(row, top_p + 1e-6)
            assert (low <= mine).all()
            assert (mine <= high).all()


def test_ties_are_kept_together():
    probabilities = np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.125, 0.125]], np.float32)
    np.testing.assert_array_equal(top_p_of(probabilities, 0.3), [[True] * 4, [True, False, False, False]])
    np.testing.assert_array_equal(top_p_of(probabilities, 0.8), [[True] * 4, [True] * 4])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([-np.inf, -3.5, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 2.5, 1e30]),
        min_size=V,
        max_size=V,
    ),
    st.sampled_from([1, 2, 5, V]),
)
def test_top_k_is_exact(logits, k):
    logits = np.array(logits, np.float32)
    kept = np.asarray(top_k_of(logits[None], k))[0]
    np.testing.assert_array_equal(kept, sorted_top_k(logits, k))


def draws(n: int, logits: np.ndarray, **options) -> np.ndarray:
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), n)
    options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}
    rows = np.broadcast_to(logits, (n, len(logits)))
    return np.asarray(jax.jit(lambda rows, keys: choose(rows, keys, **options).token)(rows, keys))


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, V), ({"temperature": 0.5}, V), ({"top_k": 4}, V), ({"top_p": 0.9}, V), ({"top_p": 0.2}, 300)],
)
def test_frequencies_follow_the_filtered_softmax(options, size):
    logits = np.random.default_rng(3).normal(size=size).astype(np.float32) * 1.5
    scaled = logits.astype(np.float64) / options.get("temperature", 1.0)
    expected = np.exp(scaled - scaled.max())
    expected /= expected.sum()
    if "top_k" in options:
        expected *= sorted_top_k(logits, 4)
    if "top_p" in options:
        expected *= sorted_top_p(expected.astype(np.float32), options["top_p"])
    expected /= expected.sum()
    n = 40_000
    counts = np.bincount(draws(n, logits, **options), minlength=size)
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    p = stats.chisquare(counts[kept], n * expected[kept]).pvalue
    assert p > 1e-4, (options, p)


def test_logprob_and_entropy_are_of_the_untempered_policy():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(5, V)).astype(np.float32) * 3
    logits[0, 3] = -np.inf
    keys = jax.random.split(jax.random.key(1), 5)
    choice = choose(jnp.asarray(logits), keys, temperature=0.3, top_k=2, top_p=0.8)
    wide = logits.astype(np.float64)
    logprobs = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    terms = np.where(
        np.isfinite(logprobs), np.exp(logprobs) * np.where(np.isfinite(logprobs), logprobs, 0), 0
    )
    np.testing.assert_allclose(choice.logprob, logprobs[np.arange(5), choice.token], rtol=1e-5)
    np.testing.assert_allclose(choice.entropy, -terms.sum(-1), rtol=1e-5)


def test_greedy_takes_the_most_probable_token_that_is_not_forbidden():
    logits = jnp.array([[0.0, 3.0, 2.0, 3.0]])
    keys = jax.random.split(jax.random.key(0), 1)
    options = {"temperature": 0, "top_k": 0, "top_p": 1.0}
    assert choose(logits, keys, **options).token == 1
    forbidden = jnp.array([[False, True, False, True]])
    assert choose(logits, keys, **options, forbidden=forbidden).token == 2


def test_what_is_switched_off_is_not_traced():
    logits, keys = jnp.zeros((2, V)), jax.random.split(jax.random.key(0), 2)

    def primitives(**options):
        options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}
        return str(jax.make_jaxpr(lambda a, k: choose(a, k, **options))(logits, keys))

    assert "random_bits" in primitives()
    assert "random_bits" not in primitives(temperature=0, top_k=5, top_p=0.5)
    loops = {name: primitives(**o).count("while[") for name, o in
             {"none": {}, "k": {"top_k": 5}, "p": {"top_p": 0.5}}.items()}  # fmt: skip
    assert loops["none"] < loops["p"]
    assert loops["none"] < max(loops["k"], primitives(top_k=5).count("scan["))
    assert "sort[" not in primitives(top_k=5, top_p=0.5)


def test_a_draw_ends_where_logits_are_not_finite_and_top_p_is_tiny():
    logits = np.zeros((4, 300), np.float32)
    logits[0, 7] = np.nan
    logits[1, 250] = np.inf
    logits[2] = -np.inf
    logits[3, 280] = 1.0
    keys = jax.random.split(jax.random.key(0), 4)
    choice = choose(jnp.asarray(logits), keys, temperature=0.7, top_k=0, top_p=1e-30)
    assert ((choice.token >= 0) & (choice.token < 300)).all()
    assert choice.token[3] == 280
