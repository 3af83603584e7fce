"""Preference losses: pure functions of the summed log-probabilities of pairs of responses.

With y_w the chosen and y_l the rejected response to x, log π(y|x) the sum over response tokens in nats,
π_ref the reference policy, and r(y) = log π(y|x) − log π_ref(y|x):

    Δ = r(y_w) − r(y_l)

Each loss takes arrays of one shape and returns the loss of each pair in that shape, float32; summing
and dividing by the pairs of the optimizer step is left to the step.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = [
    "PairLogprobs",
    "PairMetrics",
    "ipo_loss",
    "pair_metrics",
    "rpo_loss",
    "sigmoid_loss",
    "simpo_loss",
]


class PairLogprobs(NamedTuple):
    """Log-probabilities of pairs under policy and reference: float32 arrays of one shape.

    `chosen` and `rejected` are sums of the policy's log-probabilities over response tokens (nats), the
    `reference_` ones the same of the reference policy; the lengths count response tokens.
    """

    chosen: Float[Array, "*pairs"]
    rejected: Float[Array, "*pairs"]
    reference_chosen: Float[Array, "*pairs"]
    reference_rejected: Float[Array, "*pairs"]
    chosen_length: Float[Array, "*pairs"]
    rejected_length: Float[Array, "*pairs"]


class PairMetrics(NamedTuple):
    """Metrics of each pair, in the shape of its log-probabilities.

    `margin`: reward of the chosen minus reward of the rejected response; `accuracy`: 1 where it is
    positive; `chosen_logprob`, `rejected_logprob`: nats per response; `kl`: the mean of log π_ref − log π
    over the pair's two responses, nats per response.

    The reward is the one whose difference the loss uses: β·r(y) for sigmoid and rpo, β·r(y)/|y| for
    ipo, β·log π(y|x)/|y| for simpo. `kl` averages to the plain Monte Carlo estimate of KL(π_ref ‖ π) where
    the responses were sampled from π_ref; a set of pairs holds as many correct as incorrect ones, so it is an
    estimate over that mixture, and may be negative. It is 0 for simpo, which has no reference.
    """

    margin: Float[Array, "*pairs"]
    accuracy: Float[Array, "*pairs"]
    chosen_logprob: Float[Array, "*pairs"]
    rejected_logprob: Float[Array, "*pairs"]
    kl: Float[Array, "*pairs"]


def sigmoid_loss(pairs: PairLogprobs, *, beta: float, label_smoothing: float = 0.0) -> Float[Array, "*pairs"]:
    """Return −(1 − ε)·log σ(β·Δ) − ε·log σ(−β·Δ).

    DPO (arXiv 2305.18290, eq. 7) for ε = 0; for ε > 0 conservative DPO, which takes a pair to be
    reversed with probability ε (E. Mitchell, "A note on DPO with noisy preferences", 2023).
    """
    logits = beta * _delta(pairs)
    return -(1.0 - label_smoothing) * jax.nn.log_sigmoid(logits) - label_smoothing * jax.nn.log_sigmoid(
        -logits
    )


def ipo_loss(pairs: PairLogprobs, *, beta: float) -> Float[Array, "*pairs"]:
    """Return (Δ̄ − 1/(2β))² with Δ̄ = r(y_w)/|y_w| − r(y_l)/|y_l|.

    IPO (arXiv 2310.12036, whose τ is β here) with log-ratios averaged over tokens, as its
    authors use it for language models; the paper's own formula has sums.
    """
    chosen, rejected = _ratios(pairs)
    return jnp.square(chosen / pairs.chosen_length - rejected / pairs.rejected_length - 1.0 / (2.0 * beta))


def rpo_loss(
    pairs: PairLogprobs, *, beta: float, alpha: float, label_smoothing: float = 0.0
) -> Float[Array, "*pairs"]:
    """Return `sigmoid_loss` + α·(−log π(y_w|x))/|y_w|: iterative RPO (arXiv 2404.19733)."""
    nll = -pairs.chosen / pairs.chosen_length
    return sigmoid_loss(pairs, beta=beta, label_smoothing=label_smoothing) + alpha * nll


def simpo_loss(pairs: PairLogprobs, *, beta: float, gamma: float) -> Float[Array, "*pairs"]:
    """Return −log σ(β·log π(y_w|x)/|y_w| − β·log π(y_l|x)/|y_l| − γ): SimPO (arXiv 2405.14734).

    The reference policy is not used.
    """
    margin = pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length
    return -jax.nn.log_sigmoid(beta * margin - gamma)


def pair_metrics(pairs: PairLogprobs, *, loss: str, beta: float) -> PairMetrics:
    """Return the metrics of each pair under the reward of `loss`: sigmoid, ipo, rpo or simpo."""
    if loss == "simpo":
        chosen, rejected = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
        kl = jnp.zeros_like(chosen)
    else:
        chosen, rejected = _ratios(pairs)
        kl = -(chosen + rejected) / 2.0
        if loss == "ipo":
            chosen, rejected = chosen / pairs.chosen_length, rejected / pairs.rejected_length
    margin = beta * (chosen - rejected)
    return PairMetrics(
        margin=margin,
        accuracy=(margin > 0).astype(jnp.float32),
        chosen_logprob=pairs.chosen,
        rejected_logprob=pairs.rejected,
        kl=kl,
    )


def _ratios(pairs: PairLogprobs) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    """Return r(y_w) and r(y_l)."""
    return pairs.chosen - pairs.reference_chosen, pairs.rejected - pairs.reference_rejected


def _delta(pairs: PairLogprobs) -> Float[Array, "*pairs"]:
    chosen, rejected = _ratios(pairs)
    return chosen - rejected
