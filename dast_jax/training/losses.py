"""Losses: pure functions of hidden states and the unembedding matrix.

Log-probabilities come from a chunked head. Logits exist only for `chunk` positions of each row at a
time, in the forward pass and again, recomputed, in the backward pass, so the `batch x length x
vocabulary` array never does. Chunks run along the length, not across rows, so that each of them
holds rows of every device when the batch is sharded.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dast_jax.models.attention import matmul_precision

__all__ = ["SFTMetrics", "TokenScores", "sft_loss", "token_logprobs"]


class TokenScores(NamedTuple):
    """What the policy says of each target.

    logprob: float32 [B, T], log-probability in nats; top: bool [B, T], whether the target is the
    token with the largest logit.
    """

    logprob: Array
    top: Array


class SFTMetrics(NamedTuple):
    """Sums over a batch, float32 scalars: they add up over micro-batches.

    nll: weighted negative log-likelihood in nats; tokens: the sum of the weights (the number of
    response tokens); right: weighted number of response tokens predicted right.
    """

    nll: Array
    tokens: Array
    right: Array


def token_logprobs(hidden: Array, unembed: Array, targets: Array, chunk: int) -> TokenScores:
    """Scores of `targets` under softmax(hidden @ unembed).

    hidden [B, T, D] in the compute dtype; unembed [D, V]; targets int [B, T]; `chunk` is the number
    of positions per row whose logits exist at one time. The product accumulates in float32.
    """
    batch, length, width = hidden.shape
    chunk = min(chunk, length)
    padding = -length % chunk
    hidden = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0)))
    targets = jnp.pad(targets, ((0, 0), (0, padding)))
    count = (length + padding) // chunk
    hidden = hidden.reshape(batch, count, chunk, width).swapaxes(0, 1)
    targets = targets.reshape(batch, count, chunk).swapaxes(0, 1)

    @jax.checkpoint
    def score(hidden: Array, unembed: Array, targets: Array) -> TokenScores:
        logits = jnp.einsum(
            "btd,dv->btv",
            hidden,
            unembed.astype(hidden.dtype),
            precision=matmul_precision(hidden.dtype),
            preferred_element_type=jnp.float32,
        )
        at_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return TokenScores(
            logprob=at_target - jax.nn.logsumexp(logits, axis=-1),
            top=jnp.argmax(logits, axis=-1) == targets,
        )

    if count == 1:
        scores = jax.tree.map(lambda x: x[None], score(hidden[0], unembed, targets[0]))
    else:
        scores = jax.lax.map(lambda x: score(x[0], unembed, x[1]), (hidden, targets))
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(batch, -1)[:, :length], scores)


def sft_loss(
    hidden: Array, unembed: Array, targets: Array, weights: Array, chunk: int
) -> tuple[Array, SFTMetrics]:
    """Negative log-likelihood of the response tokens, summed: -sum_t w_t log p(y_t | x, y_<t).

    Shapes as in `token_logprobs`; weights float [B, T], 0 on prompt and padding. Returns the sum in
    nats and the batch's `SFTMetrics`. Dividing by the response tokens is left to the optimizer step,
    which alone knows their global count.
    """
    scores = token_logprobs(hidden, unembed, targets, chunk)
    weights = weights.astype(jnp.float32)
    nll = -jnp.sum(weights * scores.logprob)
    metrics = SFTMetrics(
        nll=jax.lax.stop_gradient(nll),
        tokens=jnp.sum(weights),
        right=jnp.sum(weights * scores.top),
    )
    return nll, metrics
