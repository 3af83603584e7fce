"""The annotations of numeric code are checked while the tests run (`conftest.CHECKED`)."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from dast_jax.sampling.filters import keep_top_k
from dast_jax.training.losses import sft_loss

HIDDEN, UNEMBED = jnp.zeros((2, 3, 4)), jnp.zeros((4, 5))


@pytest.mark.parametrize(
    ("hidden", "targets"),
    [
        (HIDDEN[0], jnp.zeros((2, 3), jnp.int32)),  # no batch axis
        (HIDDEN, jnp.zeros((2, 4), jnp.int32)),  # another length
        (HIDDEN, jnp.zeros((2, 3))),  # not integers
    ],
)
def test_a_wrong_rank_length_or_dtype_is_refused(hidden, targets):
    weights = jnp.ones((2, 3))
    with pytest.raises(TypeCheckError, match=r"parameter '(hidden|targets)'"):
        sft_loss(hidden, UNEMBED, targets, weights, 2)
    sft_loss(HIDDEN, UNEMBED, jnp.zeros((2, 3), jnp.int32), weights, 2)


def test_types_other_than_arrays_are_checked_too():
    with pytest.raises(TypeCheckError, match="parameter 'k'"):
        keep_top_k(jnp.full((1, 4), 0.25), "2")
    assert keep_top_k(jnp.full((1, 4), 0.25), 2).all()  # all are ties
