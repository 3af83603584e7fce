"""The loss head: log-probabilities of targets from hidden states, a chunk of positions at a time.

Logits exist only for one chunk, so the array of positions × vocabulary never does; and only positions with
a weight have any: the others (prompts, padding) are sorted behind them, and the loop ends before.

On a mesh, the unembedding is gathered once, before the loop, and its gradient is summed over devices once,
after it. The compiler would do both in every chunk: hence loops per device, and gradients by hand. A step of
several micro-batches gathers before the first and sums after the last (`gathered`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from dast_jax.models.precision import matmul_precision
from dast_jax.models.sharding import axis_names, constrain, partition_spec
from dast_jax.models.target import target_platform

__all__ = ["Gathered", "Unembedding", "gathered", "target_scores", "weighted_nll"]

_PRODUCT = 2**25  # elements of the unembedding's gradient that are computed at one time on CPU


class Gathered(NamedTuple):
    """The unembedding [D, V], a copy for each of the W parts that the rows are split into over the mesh.

    `gradient` is only there to be differentiated by: its cotangent holds, for each part of the rows, the
    gradient of their loss in the unembedding, which is not summed over the parts.
    """

    weights: Float[Array, "W D V"]
    gradient: Float[Array, "W D V"]


Unembedding = Float[Array, "D V"] | Gathered
"""What logits are computed with."""


class _Axes(NamedTuple):
    """The mesh axes over which the rows are split, and those over which the vocabulary is."""

    rows: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()


class _Pass(NamedTuple):
    """What one pass over the positions [N] computes; the gradients are None where they were not asked for."""

    logprob: Float[Array, " N"]
    top: Bool[Array, " N"]
    normalizer: Float[Array, " N"]
    at_hidden: Float[Array, "N D"] | None
    at_unembed: Float[Array, "D V"] | None


def gathered(unembed: Float[Array, "D V"], dtype: Any, rows: int) -> Gathered | None:
    """Return `unembed` in `dtype` gathered for batches of `rows` rows; None where there is one device."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh._any_axis_manual:
        return None
    axes = _axes(rows, unembed.shape, mesh)
    copies = math.prod(mesh.shape[axis] for axis in axes.rows), *unembed.shape
    spread = functools.partial(jax.lax.with_sharding_constraint, shardings=_of_copies(axes))
    whole = constrain(unembed.astype(dtype), None, "vocab")
    return Gathered(spread(jnp.broadcast_to(whole, copies)), spread(jnp.zeros(copies, jnp.float32)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def target_scores(
    hidden: Float[Array, "B T D"],
    unembed: Unembedding,
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    chunk: int,
) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
    """Return log softmax(hidden · unembed) at `targets`, in nats, and whether no logit is larger.

    Positions of weight 0 are not computed: they have 0 and False. `chunk` is the number of positions per row
    whose logits exist at one time. Differentiable in `hidden` and `unembed`: the backward pass computes
    the logits again.
    """
    done = _passes(hidden, unembed, targets, weights, chunk)
    return done.logprob, done.top


def _scores_forward(
    hidden: Array, unembed: Unembedding, targets: Array, weights: Array, chunk: int
) -> tuple[Any, Any]:
    done = _passes(hidden, unembed, targets, weights, chunk)
    return (done.logprob, done.top), (hidden, unembed, targets, weights, done.normalizer)


def _scores_backward(chunk: int, saved: Any, gradients: Any) -> tuple[Any, ...]:
    hidden, unembed, targets, weights, normalizer = saved
    done = _passes(hidden, unembed, targets, weights, chunk, gradients[0], normalizer)
    return done.at_hidden, _cotangent(done.at_unembed, unembed), _nothing(targets), jnp.zeros_like(weights)


target_scores.defvjp(_scores_forward, _scores_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def weighted_nll(
    hidden: Float[Array, "B T D"],
    unembed: Unembedding,
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    chunk: int,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return −Σ w log p(target), in nats, and Σ w over the targets than which no logit is larger.

    As `target_scores`, but the gradient of this sum is known up to its factor when the logits are: the
    forward pass computes both, and no logits are computed twice.
    """
    done = _passes(hidden, unembed, targets, weights, chunk)
    return _sums(done, weights)


def _sums(done: _Pass, weights: Array) -> tuple[Array, Array]:
    return -jnp.sum(weights * done.logprob), jnp.sum(weights * done.top)


def _nll_forward(
    hidden: Array, unembed: Unembedding, targets: Array, weights: Array, chunk: int
) -> tuple[Any, Any]:
    done = _passes(hidden, unembed, targets, weights, chunk, -weights)
    at_unembed = _cotangent(done.at_unembed, unembed)
    return _sums(done, weights), (done.at_hidden, at_unembed, targets, weights)


def _nll_backward(chunk: int, saved: Any, gradients: Any) -> tuple[Any, ...]:
    at_hidden, at_unembed, targets, weights = saved
    factor = gradients[0]
    scaled = jax.tree.map(lambda x: x * factor.astype(x.dtype), (at_hidden, at_unembed))
    return *scaled, _nothing(targets), jnp.zeros_like(weights)


weighted_nll.defvjp(_nll_forward, _nll_backward)


def _cotangent(gradient: Array | None, unembed: Unembedding) -> Any:
    """Return `gradient` in the shape of `unembed`."""
    if isinstance(unembed, Gathered):
        return Gathered(jnp.zeros_like(unembed.weights), gradient)  # type: ignore[arg-type]
    return gradient


def _nothing(x: Array) -> np.ndarray:
    """Return the gradient of an integer array."""
    return np.zeros(x.shape, jax.dtypes.float0)


def _passes(
    hidden: Float[Array, "B T D"],
    unembed: Unembedding,
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    chunk: int,
    coefficients: Float[Array, "B T"] | None = None,
    normalizer: Float[Array, "B T"] | None = None,
) -> _Pass:
    """Return the pass over all positions, arrays [B, T, ...], each device going over its own rows.

    With `coefficients`, also the gradients of Σ coefficient · log p(target): that of `hidden` in its dtype,
    and that of `unembed` in its own (of a `Gathered` one, in float32). `normalizer` is that of an earlier
    pass.
    """
    mesh = jax.sharding.get_abstract_mesh()
    optional = (coefficients, normalizer)
    if isinstance(unembed, Gathered):
        axes = _axes(len(targets), unembed.weights.shape[1:], mesh)
        local: Any = functools.partial(_own_copy, chunk=chunk, axes=axes)
        return _on_mesh(local, hidden, unembed.weights, targets, weights, optional, axes, _of_copies(axes))
    whole = constrain(unembed.astype(hidden.dtype), None, "vocab")
    if mesh.empty or mesh.size == 1 or mesh._any_axis_manual:
        return _cast(_rows(hidden, whole, targets, weights, *optional, chunk=chunk, axes=_Axes()), unembed)
    axes = _axes(len(targets), unembed.shape, mesh)
    local = functools.partial(_rows, chunk=chunk, axes=axes)
    columns = P(None, axes.vocabulary or None)
    return _cast(_on_mesh(local, hidden, whole, targets, weights, optional, axes, columns), unembed)


def _on_mesh(
    local: Callable[..., _Pass],
    hidden: Float[Array, "B T D"],
    unembed: Array,
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    optional: tuple[Array | None, Array | None],
    axes: _Axes,
    placed: P,
) -> _Pass:
    """Return `local` of each device's rows; `placed` is the partition of `unembed` and of its gradient."""
    rows = P(axes.rows or None)
    gradients = (None, None) if optional[0] is None else (rows, placed)
    outputs: Any = _Pass(*(rows,) * 3, *gradients)  # type: ignore[arg-type]  # partitions, not arrays
    done: _Pass = jax.shard_map(
        local,
        in_specs=(rows, placed, rows, rows, *(None if x is None else rows for x in optional)),
        out_specs=outputs,
        check_vma=False,
    )(hidden, unembed, targets, weights, *optional)
    return done


def _own_copy(hidden: Array, copies: Float[Array, "1 D V"], *rest: Any, chunk: int, axes: _Axes) -> _Pass:
    """Return `_rows` against a device's own copy, whose gradient stays that of its own rows."""
    done = _rows(hidden, copies[0], *rest, chunk=chunk, axes=axes._replace(rows=()))
    return done._replace(at_unembed=None if done.at_unembed is None else done.at_unembed[None])


def _axes(rows: int, shape: tuple[int, ...], mesh: Any) -> _Axes:
    """Return the axes for batches of `rows` rows and an unembedding [D, V] of this shape."""
    return _Axes(
        axis_names(partition_spec((rows,), ("batch",), mesh), 1)[0],
        axis_names(partition_spec(shape, (None, "vocab"), mesh), 2)[1],
    )


def _of_copies(axes: _Axes) -> P:
    return P(axes.rows or None, None, axes.vocabulary or None)


def _cast(done: _Pass, unembed: Array) -> _Pass:
    if done.at_unembed is None:
        return done
    return done._replace(at_unembed=constrain(done.at_unembed.astype(unembed.dtype), "embed", "vocab"))


def _rows(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    coefficients: Float[Array, "B T"] | None,
    normalizer: Float[Array, "B T"] | None,
    *,
    chunk: int,
    axes: _Axes,
) -> _Pass:
    """Return the pass over one device's rows, against its part of the vocabulary."""
    batch, length, width = hidden.shape
    positions = batch * length
    size = batch * min(chunk, length)
    present = weights != 0
    if coefficients is not None:  # the last chunk may reach positions without weight
        coefficients = jnp.where(present, coefficients, 0.0)
    order = jnp.argsort(~present.reshape(-1), stable=True)
    place = (
        jnp.zeros_like(order).at[order].set(jnp.arange(positions))
    )  # where each position comes in the order
    order = jnp.pad(order, (0, -positions % size))
    chunks = (jnp.sum(present) + size - 1) // size

    def ordered(x: Array | None) -> Array | None:
        return None if x is None else x.reshape(positions, *x.shape[2:])[order]

    def restored(x: Array) -> Array:
        return x[place].reshape(batch, length, *x.shape[1:])

    inputs = tuple(ordered(x) for x in (hidden, targets, coefficients, normalizer))
    start = _Pass(
        logprob=jnp.zeros(order.shape, jnp.float32),
        top=jnp.zeros(order.shape, bool),
        normalizer=jnp.zeros(order.shape, jnp.float32),
        at_hidden=None if coefficients is None else jnp.zeros((len(order), width), hidden.dtype),
        at_unembed=None if coefficients is None else jnp.zeros(unembed.shape, jnp.float32),
    )

    def body(index: Array, done: _Pass) -> _Pass:
        at = index * size
        here: Any = tuple(None if x is None else jax.lax.dynamic_slice_in_dim(x, at, size) for x in inputs)
        new = _chunk(here[0], here[1], here[2], here[3], unembed, axes.vocabulary)

        def put(x: Array | None, y: Array | None) -> Array | None:
            if x is None or y is None:
                return None
            return jax.lax.dynamic_update_slice_in_dim(x, y.astype(x.dtype), at, 0)

        total = done.at_unembed
        if total is not None and new.at_unembed is not None:
            total = _add_product(total, here[0], new.at_unembed)
        logprob, top, normalizer, at_hidden = map(put, done[:4], new[:4])
        return _Pass(logprob, top, normalizer, at_hidden, total)  # type: ignore[arg-type]

    with jax.named_scope("head_chunks"):
        done = jax.lax.fori_loop(0, chunks, body, start)
    at_hidden, at_unembed = done.at_hidden, done.at_unembed
    if at_hidden is not None and axes.vocabulary:
        at_hidden = jax.lax.psum(at_hidden, axes.vocabulary)
    if at_unembed is not None and axes.rows:
        at_unembed = jax.lax.psum(at_unembed, axes.rows)
    return _Pass(
        jnp.where(present, restored(done.logprob), 0.0),
        present & restored(done.top),
        restored(done.normalizer),
        None if at_hidden is None else restored(at_hidden),
        at_unembed,
    )


def _chunk(
    hidden: Float[Array, "C D"],
    targets: Int[Array, " C"],
    coefficients: Float[Array, " C"] | None,
    normalizer: Float[Array, " C"] | None,
    unembed: Float[Array, "D V"],
    axis: tuple[str, ...],
) -> _Pass:
    """Return the pass over one chunk, with the gradient of its logits [C, V] in place of `at_unembed`.

    With `axis`, `unembed` is a device's part of the vocabulary.
    """
    precision = matmul_precision(hidden.dtype)
    dot = functools.partial(jax.lax.dot_general, precision=precision, preferred_element_type=jnp.float32)
    logits: Array = dot(hidden, unembed, (((1,), (0,)), ((), ())))
    vocabulary = logits.shape[1]
    targets = targets - jax.lax.axis_index(axis) * vocabulary if axis else targets
    mine = (targets >= 0) & (targets < vocabulary)
    at_target = jnp.take_along_axis(logits, jnp.clip(targets, 0, vocabulary - 1)[:, None], axis=1)[:, 0]
    at_target = jnp.where(mine, at_target, 0.0)
    at_target = jax.lax.psum(at_target, axis) if axis else at_target
    largest = jnp.max(logits, axis=1)
    largest = jax.lax.pmax(largest, axis) if axis else largest
    if normalizer is None:
        total = jnp.sum(jnp.exp(logits - largest[:, None]), axis=1)
        total = jax.lax.psum(total, axis) if axis else total
        normalizer = largest + jnp.log(total)
    at_hidden = at_logits = None
    if coefficients is not None:
        hit = jnp.arange(vocabulary)[None, :] == targets[:, None]
        at_logits = coefficients[:, None] * (hit - jnp.exp(logits - normalizer[:, None]))
        at_logits = at_logits.astype(hidden.dtype)
        at_hidden = dot(at_logits, unembed, (((1,), (1,)), ((), ())))
    return _Pass(at_target - normalizer, at_target >= largest, normalizer, at_hidden, at_logits)


def _add_product(
    total: Float[Array, "D V"], hidden: Float[Array, "C D"], at_logits: Float[Array, "C V"]
) -> Float[Array, "D V"]:
    """Return total + hiddenᵀ · at_logits, float32.

    On CPU, which does not add while it multiplies, by parts of the vocabulary: the product exists for one.
    """
    precision = matmul_precision(hidden.dtype)
    # Transposed by itself, which is little: folded into the product, it took twice as long on CPU.
    transposed = jax.lax.optimization_barrier(hidden.T)

    def product(columns: Array) -> Array:
        return jnp.dot(transposed, columns, precision=precision, preferred_element_type=jnp.float32)

    width, vocabulary = total.shape
    parts = 1
    while width * vocabulary // parts > _PRODUCT and vocabulary % (2 * parts) == 0:
        parts *= 2
    if parts == 1 or target_platform() != "cpu":
        return total + product(at_logits)
    size = vocabulary // parts

    def add(part: Array, total: Array) -> Array:
        columns = jax.lax.dynamic_slice_in_dim(at_logits, part * size, size, axis=1)
        before = jax.lax.dynamic_slice_in_dim(total, part * size, size, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(total, before + product(columns), part * size, axis=1)

    summed: Array = jax.lax.fori_loop(0, parts, add, total)
    return summed
