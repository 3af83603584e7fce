"""The compiled optimizer step, for any objective."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from dast_jax.errors import UserError
from dast_jax.models.llama import Graph, Llama, Params
from dast_jax.models.sharding import constrain, laid_out, param_shardings
from dast_jax.training.head import Gathered, Unembedding, gathered
from dast_jax.training.losses import SFTMetrics, sft_loss
from dast_jax.training.optimizer import clip_factor, make_optimizer
from dast_jax.training.options import TrainingOptions

__all__ = [
    "Objective",
    "Params",
    "SFTObjective",
    "StepMetrics",
    "TrainStep",
    "batch_shapes",
    "init_optimizer",
    "loss_and_grads",
    "make_train_step",
    "objective_grads",
    "optimizer_shapes",
    "put_batch",
]

TrainStep = Callable[..., tuple[Params, Any, Any]]
"""(params, optimizer state, batch [micro, B, ...], learning rate, frozen=None) → (params, state, metrics)."""


@runtime_checkable
class Objective(Hashable, Protocol):
    """What a step minimizes: a mean over tokens or pairs, which are counted over the whole step.

    Hashable by value, since compiled steps are cached by it.
    """

    def loss(
        self, model: Llama, micro: Mapping[str, Array], unembed: Unembedding
    ) -> tuple[Float[Array, ""], Any]:
        """Return the summed loss of a micro-batch [B, ...], and sums that add up over micro-batches.

        `unembed` is the model's unembedding, for the loss head.
        """

    def count(self, sums: Any) -> Float[Array, ""]:
        """Return the number that the summed loss is divided by, at least 1."""

    def metrics(self, sums: Any, *, grad_norm: Float[Array, ""], finite: Bool[Array, ""]) -> Any:
        """Return the step's metrics, a NamedTuple of scalars with at least `loss`, `accuracy`, `finite`."""


class StepMetrics(NamedTuple):
    """Metrics of one SFT step, scalars.

    loss: mean nats per response token; tokens: response tokens; accuracy: share of them predicted
    correctly; grad_norm: before clipping; finite: False when loss or gradients were not, in which case
    parameters and optimizer state are returned unchanged.
    """

    loss: Float[Array, ""]
    tokens: Float[Array, ""]
    accuracy: Float[Array, ""]
    grad_norm: Float[Array, ""]
    finite: Bool[Array, ""]


@dataclass(frozen=True, kw_only=True)
class SFTObjective:
    """The mean negative log-likelihood of the response tokens of the step."""

    head_chunk: int

    def loss(
        self, model: Llama, micro: Mapping[str, Array], unembed: Unembedding
    ) -> tuple[Float[Array, ""], SFTMetrics]:
        """Return `losses.sft_loss` of a micro-batch."""
        hidden = model(micro["tokens"], micro["positions"], micro["segment_ids"])
        return sft_loss(hidden, unembed, micro["targets"], micro["weights"], self.head_chunk)

    def count(self, sums: SFTMetrics) -> Float[Array, ""]:
        """Return the number of response tokens."""
        return jnp.maximum(sums.tokens, 1.0)

    def metrics(
        self, sums: SFTMetrics, *, grad_norm: Float[Array, ""], finite: Bool[Array, ""]
    ) -> StepMetrics:
        """Return the means over the response tokens."""
        tokens = self.count(sums)
        return StepMetrics(
            loss=sums.nll / tokens,
            tokens=sums.tokens,
            accuracy=sums.correct / tokens,
            grad_norm=grad_norm,
            finite=finite,
        )


def objective_grads(
    graphdef: Graph,
    params: Params,
    batch: Mapping[str, Array],
    objective: Objective,
    frozen: Params | None = None,
) -> tuple[Float[Array, ""], Any, Params]:
    """Return loss and gradients of a batch of micro-batches [micro, B, ...].

    Micro-batches add up their sums; only at the end are loss and gradients divided by the count of all of
    them, so the split does not change the result. `frozen` are the model's other parameters, where `params`
    are adapters. Returns the mean loss, the objective's sums, and the gradients of the mean loss.
    """
    value, sums, grads = _summed_grads(graphdef, params, batch, objective, frozen)
    scale = 1.0 / objective.count(sums)
    return value * scale, sums, jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)


def _summed_grads(
    graphdef: Graph,
    params: Params,
    batch: Mapping[str, Array],
    objective: Objective,
    frozen: Params | None,
) -> tuple[Float[Array, ""], Any, Params]:
    """Return the summed loss, the objective's sums, and the gradients of the summed loss.

    On a mesh, the unembedding is gathered before the micro-batches, and each device adds up its part of the
    gradient over all of them: both cross the network once a step. Adapters leave the unembedding frozen.
    """
    others = () if frozen is None else (frozen,)
    unembed, to_params = jax.vjp(lambda p: nnx.merge(graphdef, p, *others).unembed(), params)
    dtype = nnx.merge(graphdef, params, *others).dtype
    head = gathered(unembed, dtype, batch["tokens"].shape[1])

    def loss(trained: tuple[Params, Array | None], micro: Mapping[str, Array]) -> tuple[Array, Any]:
        params, gradient = trained
        model = nnx.merge(graphdef, params, *others)
        if head is None:
            return objective.loss(model, micro, model.unembed())
        return objective.loss(model, micro, head if gradient is None else Gathered(head.weights, gradient))

    def value_and_grad(micro: Mapping[str, Array]) -> Any:
        trained = params, None if head is None or frozen is not None else head.gradient
        (value, sums), grads = jax.value_and_grad(loss, has_aux=True)(trained, micro)
        return value, sums, grads

    first = {name: value[0] for name, value in batch.items()}
    if batch["tokens"].shape[0] == 1:
        value, sums, grads = value_and_grad(first)
    else:
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(value_and_grad, first))
        (value, sums, grads), _ = jax.lax.scan(
            lambda total, micro: (jax.tree.map(jnp.add, total, value_and_grad(micro)), None),
            zeros,
            dict(batch),
        )
    grads, of_head = grads
    if of_head is not None:
        total = constrain(jnp.sum(of_head, axis=0).astype(unembed.dtype), "embed", "vocab")
        grads = jax.tree.map(jnp.add, grads, to_params(total)[0])
    return value, sums, grads


def loss_and_grads(
    graphdef: Graph, params: Params, batch: Mapping[str, Array], head_chunk: int
) -> tuple[SFTMetrics, Params]:
    """Return the SFT loss's sums, and the gradients of its mean per response token."""
    _, sums, grads = objective_grads(graphdef, params, batch, SFTObjective(head_chunk=head_chunk))
    return sums, grads


def make_train_step(
    graphdef: Graph,
    options: TrainingOptions,
    mesh: Mesh | None = None,
    objective: Objective | None = None,
) -> TrainStep:
    """Return the jitted step; it donates params and optimizer state and keeps their shardings.

    `objective` is SFT's unless given. Cached by what the program depends on, so that the rounds of a run
    share one compiled step. Call it with the mesh set (`jax.set_mesh`) where there is one. Where `params` are
    adapters, its last argument is the model's other parameters, which it reads only.
    """
    names = ("optimizer", "moment_dtype", "clip_norm", "weight_decay", "b1", "b2", "eps")
    compiled_in = TrainingOptions(**{name: getattr(options, name) for name in names})
    return _make_train_step(
        graphdef, compiled_in, mesh, objective or SFTObjective(head_chunk=options.head_chunk)
    )


@lru_cache(maxsize=8)
def _make_train_step(
    graphdef: Graph, options: TrainingOptions, mesh: Mesh | None, objective: Objective
) -> TrainStep:
    optimizer = make_optimizer(options)

    def step(
        params: Params,
        opt_state: Any,
        batch: Mapping[str, Array],
        learning_rate: Float[Array, ""],
        frozen: Params | None = None,
    ) -> tuple[Params, Any, Any]:
        loss, sums, grads = _summed_grads(graphdef, params, batch, objective, frozen)
        scale = 1.0 / objective.count(sums)
        grad_norm = optax.tree.norm(grads) * scale
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        # One factor, applied where a gradient is read: scaled gradients would be a second set in memory.
        factor = scale * clip_factor(grad_norm, options.clip_norm)
        grads = jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)
        updates, new_opt_state = optimizer.update(grads, opt_state, params, finite=finite)
        new_params = optax.apply_updates(params, jax.tree.map(lambda u: -learning_rate * u, updates))
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_params, params)
        new = kept, new_opt_state  # which stays as it was by itself
        if mesh is not None:
            new = jax.lax.with_sharding_constraint(new, param_shardings(new, mesh))
        return *new, objective.metrics(sums, grad_norm=grad_norm, finite=finite)

    return jax.jit(step, donate_argnums=(0, 1))


def init_optimizer(options: TrainingOptions, params: Params, mesh: Mesh | None = None) -> Any:
    """Return a fresh optimizer state; its moments are split over the mesh as the parameters are."""
    shardings = None if mesh is None else _shardings(optimizer_shapes(options, params, mesh))
    return jax.jit(make_optimizer(options).init, out_shardings=shardings)(params)


def optimizer_shapes(options: TrainingOptions, params: Params, mesh: Mesh) -> Any:
    """Return the shapes of the state that `init_optimizer` makes for parameters, or shapes of them."""
    return laid_out(jax.eval_shape(make_optimizer(options).init, params), mesh)


def batch_shapes(
    options: TrainingOptions, mesh: Mesh | None, *, pairs: bool
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of a batch as `put_batch` makes it of packed examples, or of packed `pairs`."""
    size, length = options.micro_batch_size or options.batch_size, options.sequence_length
    sharding = None if mesh is None else _row_sharding(mesh)

    def array(kind: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((options.batch_size // size, size, *shape), kind, sharding=sharding)

    names = ("tokens", "positions", "segment_ids", "targets", *(("parents",) if pairs else ()))
    batch = {name: array(np.int32, length) for name in names} | {"weights": array(np.float32, length)}
    if pairs:
        batch |= {"pairs": array(np.float32, length // 2), "reference": array(np.float32, length // 2, 2)}
    return batch


def _row_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(None, ("data", "fsdp")))


def _shardings(shapes: Any) -> Any:
    return jax.tree.map(lambda x: x.sharding, shapes)


def put_batch(
    batch: Mapping[str, np.ndarray], options: TrainingOptions, mesh: Mesh | None = None
) -> dict[str, Array]:
    """Return a host batch [rows, ...] as device arrays [micro, rows / micro, ...], rows over (data, fsdp).

    Raises `UserError` when rows do not divide evenly into micro-batches or over the mesh.
    """
    rows = len(batch["tokens"])
    size = options.micro_batch_size or rows
    if rows % size:
        raise UserError(
            f"training.micro_batch_size={size} does not divide training.batch_size={rows}: choose a divisor"
        )
    split = {k: v.reshape(rows // size, size, *v.shape[1:]) for k, v in batch.items()}
    if mesh is None:
        return {k: jnp.asarray(v) for k, v in split.items()}
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if size % ways:
        raise UserError(
            f"a micro-batch of {size} rows cannot be split over mesh.data x mesh.fsdp = {ways} devices: "
            "choose a multiple for training.micro_batch_size (or batch_size)"
        )
    sharding = _row_sharding(mesh)
    return {k: jax.make_array_from_callback(v.shape, sharding, v.__getitem__) for k, v in split.items()}
