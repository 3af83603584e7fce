"""What methods may ask of the base model: vectors of texts, from its own hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dast_jax.policy import BASE, Policy

__all__ = ["PolicyTools"]

_BATCH = 32
_LENGTHS = (32, 64, 128, 256, 512)
"""A text is padded to the next of these many tokens, so few programs are compiled; a longer one is cut."""


class PolicyTools:
    """`methods.base.ModelTools` of a run: M_0 is asked, whatever round it is."""

    def __init__(self, policy: Policy):
        self._policy = policy

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The mean of M_0's last hidden states over each text's tokens, float32 [n, d]."""
        params = self._policy.after(BASE)
        tokens = [self._policy.tokenizer.encode(text)[: _LENGTHS[-1]] or [0] for text in texts]
        order = np.argsort([len(t) for t in tokens], kind="stable")
        vectors = np.zeros((len(texts), self._policy.config.hidden_size), np.float32)
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            width = next(w for w in _LENGTHS if w >= len(tokens[rows[-1]]))
            batch, lengths = np.zeros((_BATCH, width), np.int32), np.ones(_BATCH, np.int32)
            for i, row in enumerate(rows):
                lengths[i] = len(tokens[row])
                batch[i, : lengths[i]] = tokens[row]
            with jax.set_mesh(self._policy.mesh):
                pooled = _pool(self._policy.graphdef, params, batch, lengths)
            vectors[rows] = np.asarray(pooled)[: len(rows)]
        return vectors


@partial(jax.jit, static_argnums=0)
def _pool(
    graphdef: nnx.GraphDef, params: Any, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]
) -> Float[Array, "B D"]:
    """Mean hidden states of the first `lengths` positions of each row."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    real = positions < lengths[:, None]
    hidden = nnx.merge(graphdef, params)(tokens, positions, real.astype(jnp.int32))
    total = jnp.where(real[..., None], hidden.astype(jnp.float32), 0).sum(axis=1)
    return total / lengths[:, None]
