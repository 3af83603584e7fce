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
from jaxtyping import Array, Bool, Float, Int

from dast_jax.models.precision import matmul_precision

__all__ = ["SFTMetrics", "TokenScores", "sft_loss", "token_logprobs"]


class TokenScores(NamedTuple):
    """The policy's scores of each target.

    logprob: log-probability in nats, float32; top: whether the target is the token with the largest logit.
    """

    logprob: Float[Array, "B T"]
    top: Bool[Array, "B T"]


class SFTMetrics(NamedTuple):
    """Sums over a batch, float32 scalars: they add up over micro-batches.

    nll: weighted negative log-likelihood in nats; tokens: the sum of the weights (the number of
    response tokens); correct: weighted number of response tokens predicted correctly.
    """

    nll: Float[Array, ""]
    tokens: Float[Array, ""]
    correct: Float[Array, ""]


def token_logprobs(
    hidden: Float[Array, "B T D"], unembed: Float[Array, "D V"], targets: Int[Array, "B T"], chunk: int
) -> TokenScores:
    """Return the scores of `targets` under softmax(hidden @ unembed).

    `hidden` is in the compute dtype; `chunk` is the number of positions per row whose logits exist at
    one time. The product accumulates in float32.
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
    def score(
        hidden: Float[Array, "B C D"], unembed: Float[Array, "D V"], targets: Int[Array, "B C"]
    ) -> TokenScores:
        logits: Array = jnp.einsum(
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
    whole: TokenScores = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(batch, -1)[:, :length], scores)
    return whole


def sft_loss(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    chunk: int,
) -> tuple[Float[Array, ""], SFTMetrics]:
    """Return the summed negative log-likelihood of the response tokens: -sum_t w_t log p(y_t | x, y_<t).

    `weights` are 0 on prompt and padding. Returns the sum in nats and the batch's `SFTMetrics`. Dividing
    by the response tokens is left to the optimizer step, which alone knows their global count.
    """
    scores = token_logprobs(hidden, unembed, targets, chunk)
    weights = weights.astype(jnp.float32)
    nll = -jnp.sum(weights * scores.logprob)
    metrics = SFTMetrics(
        nll=jax.lax.stop_gradient(nll),
        tokens=jnp.sum(weights),
        correct=jnp.sum(weights * scores.top),
    )
    return nll, metrics
