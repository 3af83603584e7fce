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

from dast_jax.models import llama

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


def test_remat_changes_no_gradient(monkeypatch):
    """Nor does it where the MLP is computed in parts: of 24 positions here, eight of 3."""
    tokens, positions = inputs("grouped")
    tokens, positions = tokens[:, :24], positions[:, :24]
    gradients = []
    for remat, elements in (("none", 0), ("dots", 2**25), ("full", 2**25), ("full", 1)):
        monkeypatch.setattr(llama, "_MLP_ELEMENTS", elements)
        _, graphdef, params = case("grouped", remat=remat)
        loss = lambda params, g=graphdef: jnp.square(forward(g, params, tokens, positions)).mean()  # noqa: E731
        gradients.append(jax.jit(jax.grad(loss))(params))
        forward.clear_cache()  # it does not know what it was traced with
    for one, *others in zip(*map(jax.tree.leaves, gradients), strict=True):
        for other in others:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradients[0]))


def test_bfloat16_compute_keeps_float32_parameters_and_logits():
    _, graphdef, params = case("grouped", compute_dtype="bfloat16")
    logits = forward(graphdef, params, *inputs("grouped"))
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    expected = our_logits("grouped")
    assert 0 < np.abs(logits - expected).max() < 0.2 * expected.std()
