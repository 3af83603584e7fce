"""Attention of one new token per slot, which costs what the texts are long.

The keys of a slot are, in this order: its prompt's, read once for the `R` slots of a group that share it;
its response's from earlier ticks; those of the tick under way. They are visited in blocks of fixed size, and
softmax is carried from block to block (arXiv 1805.02867). The number of blocks is a trip count: what is
masked adds exact zeros, so a slot's result depends neither on the lengths of its neighbors nor on its place.

On one CPU device groups are visited one by one (small ones several at once, of eight slots in all), for
their own number of blocks, which stay in the cache of the CPU. Elsewhere as many are computed together as all
slots need when the groups are full. Where no slots share a prompt and a block holds the longest, a CPU
computes all of them together.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dast_jax.models.cache import Prompts, Suffixes
from dast_jax.models.precision import matmul_precision
from dast_jax.models.sharding import Laid, constrain, locally, on_one_cpu, partition_spec
from dast_jax.models.target import target_platform

__all__ = ["DecodeContext", "Groups", "decode_attention", "tick_context"]

_MASKED = -1e30  # finite, so that a row with nothing to attend to gives numbers, not NaN
_SLOTS_TOGETHER = 8  # on one CPU device


class Groups(NamedTuple):
    """Which slots share which prompt: `used` groups of up to R slots, the first ones of the G possible.

    rows: pool row of each group's prompt; slots: its slots, any number where a place is empty; places: for
    each slot g · R + r, any number where the slot is idle. Where slots and pool are split over D devices, so
    are the groups, and each device's numbers begin at 0.
    """

    rows: Int[Array | np.ndarray, " G"]
    slots: Int[Array | np.ndarray, "G R"]
    places: Int[Array | np.ndarray, " S"]
    used: Int[Array | np.ndarray, " D"]


class DecodeContext(NamedTuple):
    """What the steps of one tick read: prompts, their lengths [P], and `stored` positions of each slot.

    Without `groups`, row s of prompts and lengths is that of slot s.
    """

    prompts: Prompts
    lengths: Int[Array, " P"]
    suffixes: Suffixes
    stored: Int[Array, " S"]
    groups: Groups | None


def tick_context(
    prompts: Prompts, lengths: Int[Array, " P"], suffixes: Suffixes, stored: Int[Array, " S"], groups: Groups
) -> DecodeContext:
    """Return the context of a tick, `prompts` and `lengths` being those of the pool.

    On CPU, prompts of one block for groups of one slot are laid out by slot once a tick, instead of being
    copied out of the pool at every step.
    """
    slots, rows = groups.slots.shape
    if target_platform() != "cpu" or rows > 1 or prompts.k[0].shape[1] > 1:
        return DecodeContext(prompts, lengths, suffixes, stored, groups)

    def of_slots(prompts: Prompts, numbers: tuple[Array, ...]) -> tuple[Prompts, Array]:
        lengths, rows, places = numbers
        row = rows[places]
        return jax.tree.map(lambda x: x[row], prompts), lengths[row]

    axes = ("batch", None, "kv_heads")
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((slots, *x.shape[1:]), x.dtype), prompts)
    numbers = Laid((lengths, groups.rows, groups.places), ("batch",))
    results = Laid(shapes, axes), Laid(stored, ("batch",))
    prompts, lengths = locally(of_slots, (Laid(prompts, axes), numbers), results)
    return DecodeContext(prompts, lengths, suffixes, stored, None)


class _Softmax(NamedTuple):
    """Softmax over the keys so far: largest score, sum of weights, weighted sum of values (float32)."""

    largest: Float[Array, "*rows"]
    total: Float[Array, "*rows"]
    values: Float[Array, "*rows H"]


def decode_attention(
    q: Float[Array, "S N H"],
    context: DecodeContext,
    layer: int,
    window_k: Float[Array, "S KV H W"],
    window_v: Float[Array, "S KV W H"],
    step: Int[Array, ""],
    reach: int | None = None,
) -> Float[Array, "S N H"]:
    """Return the attention of each slot's token to its prompt, its response, and itself at `step`.

    softmax(q kᵀ / √H) v, the softmax in float32. Key/value head i serves query heads i·N/KV … (i+1)·N/KV − 1.
    With `reach`, only the last `reach` tokens are attended to, the slot's own included (a sliding window).
    """
    c = context
    # Slots, the prompts they share and their groups lie together: no device reads another one's.
    attended: Array = locally(
        functools.partial(_attended, reach=reach),
        (
            Laid(q, ("batch", "heads" if _heads_divide(q, window_k) else None)),
            Laid((c.prompts.k[layer], c.prompts.v[layer]), ("batch", None, "kv_heads")),
            Laid((c.lengths, c.stored, c.groups), ("batch",)),
            Laid((c.suffixes.k[layer], c.suffixes.v[layer]), (None, "batch", "kv_heads")),
            Laid((window_k, window_v), ("batch", "kv_heads")),
            Laid(step, ()),
        ),
        Laid(q, ("batch", "heads" if _heads_divide(q, window_k) else None)),
    )
    return attended


def _heads_divide(q: Float[Array, "S N H"], k: Float[Array, "S KV H W"]) -> bool:
    """Return whether the query heads are split where the key/value heads are: else both are whole."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.empty or len(partition_spec(k.shape, (None, "kv_heads", None, None), mesh)) > 1


def _attended(
    q: Float[Array, "S N H"],
    prompts: tuple[Array, Array],
    of_slots: tuple[Array, Array, Groups | None],
    suffixes: tuple[Array, Array],
    window: tuple[Array, Array],
    step: Int[Array, ""],
    *,
    reach: int | None,
) -> Float[Array, "S N H"]:
    """Return what `decode_attention` does, of the slots and heads of one device."""
    lengths, stored, groups = of_slots
    window_k, window_v = window
    slots, heads, head_dim = q.shape
    kv_heads, width = window_k.shape[1], window_k.shape[3]
    grouped = q.reshape(slots, kv_heads, heads // kv_heads, head_dim)
    # The first entries within reach: of the tick under way, of the response, and behind the prompt's length.
    first = jnp.int32(-1) if reach is None else step - (reach - 1)
    out = None if reach is None else stored + first
    if groups is None:
        carry = _own_prompt(grouped, *prompts, lengths, out)
    else:
        carry = _prompt(grouped, *prompts, lengths, groups, out)
    carry = _suffix(grouped, carry, *suffixes, stored, out)
    seen = (jnp.arange(width) <= step) & (jnp.arange(width) >= first)
    carry = _attend(carry, grouped, window_k, window_v, seen[None, None, None])
    return (carry.values / carry.total[..., None]).reshape(q.shape).astype(q.dtype)


def _own_prompt(
    q: Float[Array, "S KV Q H"],
    k: Float[Array, "S 1 KV H C"],
    v: Float[Array, "S 1 KV C H"],
    lengths: Int[Array, " S"],
    out: Int[Array, " S"] | None,
) -> _Softmax:
    """Return what `_prompt` does, of prompts by slot."""
    at = jnp.arange(k.shape[-1])
    seen = at < lengths[:, None]
    if out is not None:
        seen = seen & (at >= (lengths + out)[:, None])
    return _attend(_nothing(q), q, k[:, 0], v[:, 0], seen[:, None, None])


def _prompt(
    q: Float[Array, "S KV Q H"],
    k: Float[Array, "P NB KV H C"],
    v: Float[Array, "P NB KV C H"],
    lengths: Int[Array, " P"],
    groups: Groups,
    out: Int[Array, " S"] | None,
) -> _Softmax:
    """Return each slot's softmax over its prompt, which is read once per group.

    Of a prompt of n tokens, the first n + `out` are out of a slot's reach (all if 0 or more).
    """
    slots, kv_heads, per_head, head_dim = q.shape
    count, rows = groups.slots.shape
    block = k.shape[-1]
    together = _together(count, -(-slots // rows), alone=max(1, _SLOTS_TOGETHER // rows))
    # [chunk, group, KV, row · Q, H]
    arranged = jnp.moveaxis(q[groups.slots], 1, 2).reshape(-1, together, kv_heads, rows * per_head, head_dim)
    arranged = constrain(arranged, None, "batch", "kv_heads", None, None)
    prompt = groups.rows.reshape(-1, together)
    length = jnp.where(jnp.arange(count) < groups.used[0], lengths[groups.rows], 0).reshape(-1, together)
    starts = None if out is None else _starts(length, out[groups.slots], per_head)

    def chunk(i: Int[Array, ""], found: _Softmax) -> _Softmax:
        mine, row, end = (jax.lax.dynamic_index_in_dim(x, i, 0, False) for x in (arranged, prompt, length))
        earliest = None if starts is None else jax.lax.dynamic_index_in_dim(starts, i, 0, False)

        def one(b: Int[Array, ""], carry: _Softmax) -> _Softmax:
            def of(x: Array) -> Array:
                if together > 1:
                    return x[row, b]
                return jax.lax.dynamic_slice(x, (row[0], b, 0, 0, 0), (1, 1, *x.shape[2:]))[:, 0]

            at = b * block + jnp.arange(block)
            seen = (at < end[:, None])[:, None, None]
            if earliest is not None:
                seen = seen & (at >= earliest[:, None, :, None])
            return _attend(carry, mine, of(k), of(v), seen)

        with jax.named_scope("prompt_blocks"):
            done = jax.lax.fori_loop(0, -(-end.max() // block), one, _nothing(mine))
        return _Softmax(
            *(jax.lax.dynamic_update_index_in_dim(o, x, i, 0) for o, x in zip(found, done, strict=True))
        )

    with jax.named_scope("prompt_groups"):
        found = jax.lax.fori_loop(0, -(-groups.used[0] // together), chunk, _nothing(arranged))

    def back(x: Float[Array, "X Y KV Z *H"]) -> Float[Array, "S KV Q *H"]:
        x = jnp.moveaxis(x.reshape(count, kv_heads, rows, per_head, *x.shape[4:]), 2, 1)
        placed = x.reshape(count * rows, kv_heads, per_head, *x.shape[4:])[groups.places]
        return constrain(placed, "batch", "kv_heads", *(None,) * (placed.ndim - 2))

    return _Softmax(*(back(x) for x in found))


def _starts(
    length: Int[Array, "chunks together"], out: Int[Array, "G R"], per_head: int
) -> Int[Array, "chunks together M"]:
    """Return the first position of its prompt that each row of `arranged` sees, M being the slots · Q."""
    by_slot = length[..., None] + out.reshape(*length.shape, -1)
    return jnp.repeat(by_slot, per_head, axis=-1)


def _suffix(
    q: Float[Array, "S KV Q H"],
    before: _Softmax,
    k: Float[Array, "NB S KV H C"],
    v: Float[Array, "NB S KV C H"],
    stored: Int[Array, " S"],
    out: Int[Array, " S"] | None,
) -> _Softmax:
    """Return `before` continued over each slot's `stored` own positions, except the first `out`."""
    slots, block = q.shape[0], k.shape[-1]
    together = _together(slots, slots, alone=_SLOTS_TOGETHER)

    def chunk(i: Int[Array, ""], carry: _Softmax) -> _Softmax:
        def part(x: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, i * together, together, 0)

        mine, end = part(q), part(stored)
        earliest = None if out is None else part(out)

        def one(b: Int[Array, ""], carry: _Softmax) -> _Softmax:
            def of(x: Array) -> Array:
                start = (b, i * together, 0, 0, 0)
                return jax.lax.dynamic_slice(x, start, (1, together, *x.shape[2:]))[0]

            at = b * block + jnp.arange(block)
            seen = at < end[:, None]
            if earliest is not None:
                seen = seen & (at >= earliest[:, None])
            return _attend(carry, mine, of(k), of(v), seen[:, None, None])

        with jax.named_scope("suffix_blocks"):
            done = jax.lax.fori_loop(0, -(-end.max() // block), one, _Softmax(*(part(x) for x in carry)))
        return _Softmax(
            *(
                jax.lax.dynamic_update_slice_in_dim(o, x, i * together, 0)
                for o, x in zip(carry, done, strict=True)
            )
        )

    if together == slots:
        return chunk(jnp.int32(0), before)
    done: _Softmax = jax.lax.fori_loop(0, slots // together, chunk, before)
    return done


def _attend(
    carry: _Softmax,
    q: Float[Array, "B KV M H"],
    k: Float[Array, "B KV H C"],
    v: Float[Array, "B KV C H"],
    seen: Bool[Array, "..."],
) -> _Softmax:
    """Return the softmax continued over one block of keys, of which those `seen` count."""
    precision = matmul_precision(q.dtype)
    scores = jnp.einsum("bkmh,bkhc->bkmc", q, k, precision=precision, preferred_element_type=jnp.float32) * (
        q.shape[-1] ** -0.5
    )
    scores = jnp.where(seen, scores, _MASKED)
    largest = jnp.maximum(carry.largest, scores.max(axis=-1))
    weights = jnp.exp(scores - largest[..., None])
    kept = jnp.exp(carry.largest - largest)
    values = jnp.einsum(
        "bkmc,bkch->bkmh",
        weights.astype(v.dtype),
        v,
        precision=precision,
        preferred_element_type=jnp.float32,
    )
    return _Softmax(
        largest, carry.total * kept + weights.sum(axis=-1), carry.values * kept[..., None] + values
    )


def _nothing(q: Float[Array, "*rows H"]) -> _Softmax:
    """Return the softmax over no keys; every slot sees at least its own token before it is divided."""
    rows = q.shape[:-1]
    return _Softmax(
        jnp.full(rows, _MASKED, jnp.float32),
        jnp.zeros(rows, jnp.float32),
        jnp.zeros(q.shape, jnp.float32),
    )


def _together(count: int, wanted: int, *, alone: int) -> int:
    """Return how many of `count` to compute at once: a divisor, at most `alone` on one CPU device."""
    most = min(count, alone if on_one_cpu() else wanted)
    return max(n for n in range(1, most + 1) if count % n == 0)
