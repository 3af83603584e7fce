"""From logits to a token: temperature, top-k, top-p, one draw. Pure functions of [S, V] arrays.

A token is drawn by inverting the distribution function at a uniform number: block sums, then one block.
Top-p is exact without a sort: a token is drawn from all, and kept if the tokens more probable than it hold
less than `top_p`; if not, neither it nor any as improbable belongs to the nucleus, and the next draw is from
the rest. Each draw is two passes over the vocabulary, and a row needs 1 / top_p of them on average, or fewer.

Top-k is exact without a sort, too: floats compare as their bit patterns do, so the k-th largest value is
found by bisection over 32 bits.

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

__all__ = ["Choice", "choose", "draw", "in_nucleus", "keep_top_k"]

_MINUS_INFINITY = -jnp.inf
_BLOCK = 128


class Choice(NamedTuple):
    """A token per row, its log-probability and the entropy of its distribution (untempered, nats)."""

    token: Int[Array, " S"]
    logprob: Float[Array, " S"]
    entropy: Float[Array, " S"]


def in_nucleus(
    weights: Float[Array, "S V"],
    of: Float[Array, " S"],
    top_p: float | Float[Array, ""],
    total: Float[Array, " S"],
) -> Bool[Array, " S"]:
    """Return whether tokens of weight `of` are in the nucleus (arXiv 1904.09751), `total` being all weight.

    The nucleus is the smallest set of most probable tokens that holds `top_p`: a token is in it where those
    more probable hold less.
    """
    above = jnp.where(weights > of[:, None], weights, 0.0).sum(axis=-1)
    return above < top_p * total


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


def draw(weights: Float[Array, "S V"], keys: Key[Array, " S"], top_p: float = 1.0) -> Int[Array, " S"]:
    """Return a token of each row's nucleus, drawn in proportion to `weights` (≥ 0) with the row's own key."""
    blocks = jnp.pad(weights, [(0, 0), (0, -weights.shape[1] % _BLOCK)])
    blocks = blocks.reshape(weights.shape[0], -1, _BLOCK)

    def trial(i: Int[Array, ""], pivot: Float[Array, " S"]) -> tuple[Array, Array, Array]:
        """Return a token heavier than `pivot`, its weight, and whether none was found."""
        number = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, i)))(keys)
        heavier = jnp.where(blocks > pivot[:, None, None], blocks, 0.0)
        upto = jnp.cumsum(heavier.sum(axis=-1), axis=-1)
        target = number * upto[:, -1]
        block = jnp.minimum((upto <= target[:, None]).sum(axis=-1), upto.shape[1] - 1)
        before = jnp.where(
            block > 0, jnp.take_along_axis(upto, jnp.maximum(block - 1, 0)[:, None], axis=1)[:, 0], 0.0
        )
        within = jnp.take_along_axis(heavier, block[:, None, None], axis=1)[:, 0]
        upto_token = jnp.cumsum(within, axis=-1)
        place = jnp.minimum((upto_token <= (target - before)[:, None]).sum(axis=-1), _BLOCK - 1)
        weight = jnp.take_along_axis(within, place[:, None], axis=1)[:, 0]
        # Where rounding leads to the end of a block, or no number is greater (NaN): the heaviest instead.
        lost = ~(weight > 0)
        token = jnp.where(lost, jnp.argmax(weights, axis=-1), block * _BLOCK + place)
        return token.astype(jnp.int32), weight, lost

    rows = weights.shape[0]
    if top_p >= 1:
        return trial(jnp.int32(0), jnp.zeros(rows, weights.dtype))[0]
    total = weights.sum(axis=-1)

    def again(state: tuple[Array, ...]) -> tuple[Array, ...]:
        i, token, pivot, done = state
        drawn, weight, lost = trial(i, pivot)
        kept = lost | in_nucleus(weights, weight, top_p, total)
        return i + 1, jnp.where(done, token, drawn), jnp.where(done, pivot, weight), done | kept

    begin = (
        jnp.int32(0),
        jnp.zeros(rows, jnp.int32),
        jnp.zeros(rows, weights.dtype),
        jnp.zeros(rows, bool),
    )
    _, token, _, _ = jax.lax.while_loop(lambda state: ~state[3].all(), again, begin)
    return token


def choose(
    logits: Float[Array, "S V"],
    keys: Key[Array, " S"],
    *,
    temperature: float | Float[Array, " S"],
    top_k: int,
    top_p: float,
    forbidden: Bool[Array, "S V"] | None = None,
) -> Choice:
    """Draw one token per row from softmax(logits / temperature), filtered.

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
        weights = jnp.exp(scaled - scaled.max(axis=-1, keepdims=True))
        token = draw(weights, keys, top_p)
        if by_row:
            token = jnp.where(greedy, jnp.argmax(allowed, axis=-1), token)
    # One pass: log Z from Σ e^x, and the entropy log Z − Σ x e^x / Z.
    shifted = logits - logits.max(axis=-1, keepdims=True)
    powers = jnp.exp(shifted)
    total = powers.sum(axis=-1)
    weighted = jnp.where(powers > 0, powers * shifted, 0.0).sum(axis=-1)
    logprob = jnp.take_along_axis(shifted, token[:, None], axis=-1)[:, 0] - jnp.log(total)
    return Choice(token.astype(jnp.int32), logprob, jnp.log(total) - weighted / total)
