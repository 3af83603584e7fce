"""Mean-pooled vectors against the model's own hidden states, regardless of padding and batches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from model_cases import case

from dast_jax.models import embed
from dast_jax.models.embed import mean_pooled

NAME = "grouped"


@jax.jit
def hidden_states(params, tokens):
    model = nnx.merge(case(NAME)[1], params)
    return model(tokens, jnp.arange(tokens.shape[1])[None])


def token_lists():
    rng = np.random.default_rng(0)
    return [rng.integers(1, 90, n).tolist() for n in (3, 11, 8, 1, 30, 3)] + [[]]


def test_mean_of_the_hidden_states():
    config, graphdef, params = case(NAME)
    found = mean_pooled(graphdef, params, token_lists(), buckets=(8, 16), batch=2)
    assert found.shape == (7, config.hidden_size)
    assert found.dtype == np.float32
    for tokens, vector in zip(token_lists()[:-1], found, strict=False):
        hidden = np.asarray(hidden_states(params, np.array([tokens[:16]])))[0]
        np.testing.assert_allclose(vector, hidden.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert not found[-1].any()


def test_compiled_once_a_bucket_and_the_order_does_not_matter():
    _, graphdef, params = case(NAME)
    before = embed._pooled._cache_size()
    one = mean_pooled(graphdef, params, token_lists(), buckets=(4, 12), batch=3)
    assert embed._pooled._cache_size() == before + 2
    back = mean_pooled(graphdef, params, token_lists()[::-1], buckets=(4, 12), batch=3)[::-1]
    assert embed._pooled._cache_size() == before + 2
    np.testing.assert_allclose(one, back, atol=1e-6)


def test_no_texts():
    _, graphdef, params = case(NAME)
    assert len(mean_pooled(graphdef, params, [])) == 0
