"""The compiled optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dast_jax.errors import UserError
from dast_jax.models.sharding import param_shardings
from dast_jax.training.losses import SFTMetrics, sft_loss
from dast_jax.training.optimizer import make_optimizer
from dast_jax.training.options import TrainingOptions

__all__ = ["StepMetrics", "TrainStep", "init_optimizer", "loss_and_grads", "make_train_step", "put_batch"]

Params = Any
"""The model's parameters, an nnx.State."""

TrainStep = Callable[[Params, Any, Mapping[str, Array], Any], tuple[Params, Any, "StepMetrics"]]
"""(params, optimizer state, batch [micro, B, T], learning rate) → (params, optimizer state, metrics)."""


class StepMetrics(NamedTuple):
    """Of one optimizer step, scalars.

    loss: mean nats per response token; tokens: response tokens; accuracy: share of them predicted
    right; grad_norm: before clipping; finite: False when loss or gradients were not, in which case
    parameters and optimizer state came back as they were.
    """

    loss: Array
    tokens: Array
    accuracy: Array
    grad_norm: Array
    finite: Array


def loss_and_grads(
    graphdef: nnx.GraphDef, params: Params, batch: Mapping[str, Array], head_chunk: int
) -> tuple[SFTMetrics, Params]:
    """Loss sums and gradients of a batch of micro-batches [micro, B, T].

    Micro-batches add up their sums; only at the end are the gradients divided by the response tokens of
    all of them, so the split does not change the result. Returns the sums and the gradients of the mean
    loss per response token.
    """

    def loss(params: Params, micro: Mapping[str, Array]) -> tuple[Array, SFTMetrics]:
        model = nnx.merge(graphdef, params)
        hidden = model(micro["tokens"], micro["positions"], micro["segment_ids"])
        return sft_loss(hidden, model.unembed(), micro["targets"], micro["weights"], head_chunk)

    def accumulate(total: Any, micro: Mapping[str, Array]) -> tuple[Any, None]:
        grads, metrics = jax.grad(loss, has_aux=True)(params, micro)
        return jax.tree.map(jnp.add, total, (metrics, grads)), None

    if batch["tokens"].shape[0] == 1:
        grads, metrics = jax.grad(loss, has_aux=True)(params, {k: v[0] for k, v in batch.items()})
    else:
        zeros = (SFTMetrics(*[jnp.zeros((), jnp.float32)] * 3), jax.tree.map(jnp.zeros_like, params))
        (metrics, grads), _ = jax.lax.scan(accumulate, zeros, dict(batch))
    scale = 1.0 / jnp.maximum(metrics.tokens, 1.0)
    return metrics, jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)


def make_train_step(graphdef: nnx.GraphDef, options: TrainingOptions, mesh: Mesh | None = None) -> TrainStep:
    """The jitted step; params and optimizer state are donated and keep their shardings.

    Cached by what the program depends on, so that the rounds of a run share one compiled step. Call it
    with the mesh set (`jax.set_mesh`) where there is one.
    """
    names = ("clip_norm", "weight_decay", "b1", "b2", "eps", "head_chunk")
    compiled_in = TrainingOptions(**{name: getattr(options, name) for name in names})
    return _make_train_step(graphdef, compiled_in, mesh)


@lru_cache(maxsize=8)
def _make_train_step(graphdef: nnx.GraphDef, options: TrainingOptions, mesh: Mesh | None) -> TrainStep:
    optimizer = make_optimizer(options)

    def step(
        params: Params, opt_state: Any, batch: Mapping[str, Array], learning_rate: Array
    ) -> tuple[Params, Any, StepMetrics]:
        sums, grads = loss_and_grads(graphdef, params, batch, options.head_chunk)
        tokens = jnp.maximum(sums.tokens, 1.0)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(sums.nll) & jnp.isfinite(grad_norm)
        updates, new_opt_state = optimizer.update(grads, opt_state, params)
        new_params = jax.tree.map(lambda p, u: p - (learning_rate * u).astype(p.dtype), params, updates)
        new = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (new_params, new_opt_state), (params, opt_state)
        )
        if mesh is not None:
            new = jax.lax.with_sharding_constraint(new, param_shardings(new, mesh))
        metrics = StepMetrics(
            loss=sums.nll / tokens,
            tokens=sums.tokens,
            accuracy=sums.right / tokens,
            grad_norm=grad_norm,
            finite=finite,
        )
        return *new, metrics

    return jax.jit(step, donate_argnums=(0, 1))


def init_optimizer(options: TrainingOptions, params: Params, mesh: Mesh | None = None) -> Any:
    """A fresh optimizer state; its moments are split over the mesh as the parameters are."""
    init = make_optimizer(options).init
    shardings = None if mesh is None else param_shardings(jax.eval_shape(init, params), mesh)
    return jax.jit(init, out_shardings=shardings)(params)


def put_batch(
    batch: Mapping[str, np.ndarray], options: TrainingOptions, mesh: Mesh | None = None
) -> dict[str, Array]:
    """A host batch [rows, T] as device arrays [micro, rows / micro, T], rows over (data, fsdp).

    Raises UserError when rows do not divide evenly into micro-batches or over the mesh.
    """
    rows = len(batch["tokens"])
    size = options.micro_batch_size or rows
    if rows % size:
        raise UserError(
            f"training.micro_batch_size={size} does not divide training.batch_size={rows}: choose a divisor."
        )
    split = {k: v.reshape(rows // size, size, *v.shape[1:]) for k, v in batch.items()}
    if mesh is None:
        return {k: jnp.asarray(v) for k, v in split.items()}
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if size % ways:
        raise UserError(
            f"a micro-batch of {size} rows cannot be split over mesh.data x mesh.fsdp = {ways} devices: "
            "choose a multiple for training.micro_batch_size (or batch_size)."
        )
    sharding = NamedSharding(mesh, PartitionSpec(None, ("data", "fsdp"), None))
    return {k: jax.make_array_from_callback(v.shape, sharding, v.__getitem__) for k, v in split.items()}
