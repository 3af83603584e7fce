"""Losses: pure functions of hidden states and the unembedding matrix.

They come from the chunked head of `training/head.py`: the `batch x length x vocabulary` array never exists.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dast_jax.training.head import Unembedding, target_scores, weighted_nll

__all__ = ["SFTMetrics", "TokenScores", "sft_loss", "token_logprobs"]


class TokenScores(NamedTuple):
    """The policy's scores of each target.

    logprob: log-probability in nats, float32; top: whether no token has a larger logit.
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
    hidden: Float[Array, "B T D"],
    unembed: Unembedding,
    targets: Int[Array, "B T"],
    chunk: int,
    weights: Float[Array, "B T"] | None = None,
) -> TokenScores:
    """Return the scores of `targets` under softmax(hidden @ unembed).

    `hidden` is in the compute dtype; `chunk` is the number of positions per row whose logits exist at
    one time. The product accumulates in float32. Positions where `weights` are 0 are not computed: they
    have 0 and False.
    """
    weights = jnp.ones(targets.shape, jnp.float32) if weights is None else weights.astype(jnp.float32)
    return TokenScores(*target_scores(hidden, unembed, targets, weights, chunk))


def sft_loss(
    hidden: Float[Array, "B T D"],
    unembed: Unembedding,
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    chunk: int,
) -> tuple[Float[Array, ""], SFTMetrics]:
    """Return the summed negative log-likelihood of the response tokens: -sum_t w_t log p(y_t | x, y_<t).

    `weights` are 0 on prompt and padding. Returns the sum in nats and the batch's `SFTMetrics`. Dividing
    by the response tokens is left to the optimizer step, which alone knows their global count.
    """
    weights = weights.astype(jnp.float32)
    nll, correct = weighted_nll(hidden, unembed, targets, weights, chunk)
    metrics = SFTMetrics(nll=jax.lax.stop_gradient(nll), tokens=jnp.sum(weights), correct=correct)
    return nll, metrics
