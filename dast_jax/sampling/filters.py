"""From logits to a token: temperature, top-k, top-p, Gumbel noise. Pure functions of [S, V] arrays.

Top-k and top-p are exact without a sort. Non-negative floats compare as their bit patterns do, so the k-th
largest value, or the smallest probability inside the nucleus, is found by bisection over 32 bits: 31 or 32
masked sums over the vocabulary, whatever its size. A sum of non-negative terms in a fixed order never grows
when terms are taken out, so the bisection is exact for the sums that it computes.

Ties: tokens as probable as the last one kept are kept too (both filters), so the kept set depends on the
probabilities only, never on token ids. The filters apply in the order temperature, top-k, top-p; top-p counts
probability after top-k's renormalization.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

__all__ = ["Choice", "choose", "gumbel", "keep_top_k", "keep_top_p"]

_MINUS_INFINITY = -jnp.inf


class Choice(NamedTuple):
    """A token per row, its log-probability and the entropy of its distribution (untempered, nats)."""

    token: Int[Array, " S"]
    logprob: Float[Array, " S"]
    entropy: Float[Array, " S"]


def keep_top_p(probabilities: Float[Array, "S V"], top_p: float | Float[Array, ""]) -> Bool[Array, "S V"]:
    """Return the nucleus (arXiv 1904.09751): the smallest set of most probable tokens that holds `top_p`.

    That is {v : p_v ≥ t} for the largest t at which the set's mass reaches `top_p`. If rounding keeps the
    mass of all tokens below `top_p`, all are kept.
    """
    bits = jax.lax.bitcast_convert_type(probabilities, jnp.int32)  # ascending with p, as p ≥ 0

    def reaches(threshold: Int[Array, " S"]) -> Bool[Array, " S"]:
        kept = jnp.where(bits >= threshold[:, None], probabilities, 0.0)
        return kept.sum(axis=-1) >= top_p

    return bits >= _largest(reaches, bits.shape[0])[:, None]


def keep_top_k(logits: Float[Array, "S V"], k: int) -> Bool[Array, "S V"]:
    """Return where a logit is among the k largest of its row; ties with the k-th are kept.

    Top-k sampling is that of arXiv 1805.04833.
    """
    zeroed = jnp.where(logits == 0, 0.0, logits)  # -0.0 ties with 0.0
    bits = jax.lax.bitcast_convert_type(zeroed, jnp.int32)
    # The bits of negative floats descend as the floats ascend, so they are flipped (all but the sign).
    order = jnp.where(bits < 0, ~(bits & 0x7FFFFFFF), bits)

    def reaches(threshold: Int[Array, " S"]) -> Bool[Array, " S"]:
        return (order >= threshold[:, None]).sum(axis=-1) >= k

    negative = ~reaches(jnp.zeros(order.shape[0], jnp.int32))
    low = jnp.where(negative, jnp.int32(-(2**31)), 0)
    return order >= (low + _largest(lambda t: reaches(low + t), order.shape[0]))[:, None]


def _largest(reaches: Callable[[Int[Array, " S"]], Bool[Array, " S"]], rows: int) -> Int[Array, " S"]:
    """Return per row the largest t in [0, 2³¹) with `reaches(t)`, which must not rise with t; else 0."""

    def bit(i: Int[Array, ""], threshold: Int[Array, " S"]) -> Int[Array, " S"]:
        candidate = threshold | (jnp.int32(1) << (30 - i))
        return jnp.where(reaches(candidate), candidate, threshold)

    largest: Array = jax.lax.fori_loop(0, 31, bit, jnp.zeros(rows, jnp.int32))
    return largest


def gumbel(keys: Key[Array, " S"], vocab_size: int) -> Float[Array, "S V"]:
    """Return standard Gumbel noise for each row from that row's own key."""
    return jax.vmap(lambda key: jax.random.gumbel(key, (vocab_size,), jnp.float32, mode="low"))(keys)


def choose(
    logits: Float[Array, "S V"],
    keys: Key[Array, " S"],
    *,
    temperature: float | Float[Array, " S"],
    top_k: int,
    top_p: float,
    forbidden: Bool[Array, "S V"] | None = None,
) -> Choice:
    """Draw one token per row: argmax(logits / temperature, filtered, + Gumbel noise) samples the softmax.

    `temperature` 0 takes the most probable token (the lowest id among equals) and leaves `keys` unused; it
    may differ by row. `forbidden` tokens cannot be drawn. Returns the tokens with log-probability and entropy
    under softmax(`logits`), before any of this. What Python numbers switch off costs nothing: they are
    decided while tracing.
    """
    allowed = logits if forbidden is None else jnp.where(forbidden, _MINUS_INFINITY, logits)
    by_row = not isinstance(temperature, int | float)
    if not by_row and temperature == 0:
        token = jnp.argmax(allowed, axis=-1)
    else:
        greedy = jnp.asarray(temperature) == 0
        scaled = allowed / (jnp.where(greedy, 1.0, temperature)[:, None] if by_row else temperature)
        if 0 < top_k < logits.shape[-1]:
            scaled = jnp.where(keep_top_k(scaled, top_k), scaled, _MINUS_INFINITY)
        if top_p < 1:
            nucleus = keep_top_p(jax.nn.softmax(scaled, axis=-1), top_p)
            scaled = jnp.where(nucleus, scaled, _MINUS_INFINITY)
        token = jnp.argmax(scaled + gumbel(keys, logits.shape[-1]), axis=-1)
        if by_row:
            token = jnp.where(greedy, jnp.argmax(allowed, axis=-1), token)
    logprobs = jax.nn.log_softmax(logits, axis=-1)
    logprob = jnp.take_along_axis(logprobs, token[:, None], axis=-1)[:, 0]
    probabilities = jnp.exp(logprobs)
    entropy = -jnp.sum(jnp.where(probabilities > 0, probabilities * logprobs, 0.0), axis=-1)
    return Choice(token.astype(jnp.int32), logprob, entropy)
