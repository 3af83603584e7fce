"""Embeddings of texts from the policy's own hidden states, so that no other encoder is needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from dast_jax.models.llama import Graph, Params
from dast_jax.models.sharding import constrain

__all__ = ["mean_pooled"]


def mean_pooled(
    graphdef: Graph,
    params: Params,
    token_lists: Sequence[Sequence[int]],
    *,
    buckets: Sequence[int] = (32, 64, 128, 256, 512),
    batch: int = 32,
    mesh: Mesh | None = None,
) -> Float[np.ndarray, "n D"]:
    """Return the mean of the last hidden states (after the final norm) over each text's tokens, float32.

    A text is padded to the next of `buckets` tokens, each of which is compiled once, and cut at the last
    one; a text without tokens has the zero vector. The vectors do not depend on the order of the texts.
    """
    kept = [tokens[: buckets[-1]] for tokens in token_lists]
    lengths = np.array([len(tokens) for tokens in kept], np.int32)
    vectors: np.ndarray | None = None
    of_bucket = np.searchsorted(np.asarray(buckets), lengths)
    for bucket, width in enumerate(buckets):
        members = np.flatnonzero(of_bucket == bucket)
        for start in range(0, len(members), batch):
            rows = members[start : start + batch]
            tokens = np.zeros((batch, width), np.int32)
            for i, row in enumerate(rows):
                tokens[i, : lengths[row]] = kept[row]
            count = np.zeros(batch, np.int32)
            count[: len(rows)] = lengths[rows]
            with jax.set_mesh(mesh) if mesh is not None else nullcontext():
                pooled = np.asarray(_pooled(graphdef, params, tokens, count))
            if vectors is None:
                vectors = np.zeros((len(kept), pooled.shape[1]), np.float32)
            vectors[rows] = pooled[: len(rows)]
    return np.zeros((0, 0), np.float32) if vectors is None else vectors


@partial(jax.jit, static_argnums=0)
def _pooled(
    graphdef: Graph, params: Params, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]
) -> Float[Array, "B D"]:
    """Return the mean hidden state of the first `lengths` positions of each row, zero for none."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    real = positions < lengths[:, None]
    hidden = nnx.merge(graphdef, params)(tokens, positions, real.astype(jnp.int32))
    total = jnp.sum(hidden.astype(jnp.float32), axis=1, where=real[..., None])
    return constrain(total / jnp.maximum(lengths, 1)[:, None], None, None)  # whole, so on every process
