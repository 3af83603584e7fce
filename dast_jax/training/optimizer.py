"""Optimizers and the learning-rate schedule, from optax."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers, muon

from dast_jax.training.options import TrainingOptions

__all__ = ["clip_factor", "learning_rate", "make_optimizer"]

_MUON_RMS = 0.2
"""Root mean square of Muon's updates, about AdamW's: one learning rate suits both (arXiv 2502.16982)."""

_KERNELS = {
    **dict.fromkeys(("q", "k", "v"), MuonDimensionNumbers(1, (2, 3))),  # [L, D, heads, H]
    "o": MuonDimensionNumbers((1, 2), 3),  # [L, heads, H, D]
    **dict.fromkeys(("gate", "up", "down"), MuonDimensionNumbers(1, 2)),  # [L, in, out]
}
"""The axes by which Muon reads each layer's kernels as matrices; Adam updates everything else."""


def learning_rate(options: TrainingOptions, step: int, total: int) -> float:
    """Return the learning rate of step `step` (from 0) of `total`.

    With w = ceil(warmup_fraction * total) it is, for step < w, peak * (step + 1) / (w + 1), so that no
    step is wasted at zero; after that, with u = (step - w) / (total - w): peak for "constant",
    peak * (1 - u) for "linear" and peak * (1 + cos(pi * u)) / 2 for "cosine".
    """
    return float(_schedule(options.schedule, options.learning_rate, options.warmup_fraction, total)(step))


@functools.lru_cache(maxsize=8)
def _schedule(shape: str, peak: float, warmup_fraction: float, total: int) -> optax.Schedule:
    warmup = math.ceil(warmup_fraction * total)
    rest = max(total - warmup, 1)
    falling = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
    }[shape]
    if not warmup:
        return falling
    return optax.join_schedules([optax.linear_schedule(peak / (warmup + 1), peak, warmup), falling], [warmup])


def make_optimizer(options: TrainingOptions) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer's direction and decoupled weight decay, without learning rate and clipping.

    Its `update` takes `finite`, a scalar: where that is False, the state stays as it was.

    The step scales the updates by minus the learning rate, which is an argument of it, so that one
    compiled step serves rounds of any number of steps; and it clips the gradients (`clip_factor`). Norms
    and biases are not decayed. AdamW: arXiv 1711.05101; Adafactor: 1804.04235, with given learning rates and
    without momentum; Muon: 2502.16982.
    """
    in_place = options.optimizer == "adamw" and options.moment_dtype == "float32"
    make = {"adamw": _adam, "adafactor": _adafactor, "muon": _muon}[options.optimizer]
    direction = _adam_in_place(options) if in_place else _where_finite(make(options))
    decay = optax.add_decayed_weights(options.weight_decay, mask=_decayed)
    return optax.chain(optax.identity(), direction, decay)  # the first is an old checkpoint's clipping


def clip_factor(norm: Float[Array, ""], limit: float) -> Float[Array, ""]:
    """Return what gradients of this global norm are multiplied by: their norm becomes `limit` at most.

    Without a limit (0) it is 1. arXiv 1211.5063, section 3.2.
    """
    return jnp.where(norm > limit, limit / norm, 1.0) if limit else jnp.ones_like(norm)


def _adam(options: TrainingOptions) -> optax.GradientTransformation:
    moment = _dtype(options.moment_dtype)
    return optax.scale_by_adam(b1=options.b1, b2=options.b2, eps=options.eps, mu_dtype=moment)


def _adam_in_place(options: TrainingOptions) -> optax.GradientTransformationExtraArgs:
    """Return Adam whose direction is computed from the new moments, not beside them from the old ones.

    The numbers are those of `_adam`. But where parameters and moments are all computed from the old moments,
    none of them can replace those in memory, and the compiler keeps a copy of the whole state.
    """
    adam = _where_finite(_adam(options))

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        _, new = adam.update(grads, state, params, **extra)
        new = jax.lax.optimization_barrier(new)
        count = jnp.maximum(new.count, 1)  # 0 where the first gradients were not finite
        mean = optax.tree.bias_correction(new.mu, options.b1, count)
        square = optax.tree.bias_correction(new.nu, options.b2, count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + options.eps), mean, square), new

    return optax.GradientTransformationExtraArgs(adam.init, update)


def _where_finite(direction: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Return `direction` with a state that stays as it was where `finite` is False."""

    def update(
        grads: Any, state: Any, params: Any = None, *, finite: Any = True, **_: Any
    ) -> tuple[Any, Any]:
        updates, new = direction.update(grads, state, params)
        return updates, jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)

    return optax.GradientTransformationExtraArgs(direction.init, update)


def _adafactor(options: TrainingOptions) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0))


def _muon(options: TrainingOptions) -> optax.GradientTransformation:
    """Return Muon for the layers' kernels and Adam for the rest, along the gradient and without decay.

    Both use Nesterov's momentum.
    """
    both = muon(
        learning_rate=1.0,
        mu_dtype=_dtype(options.moment_dtype),
        adam_b1=options.b1,
        adam_b2=options.b2,
        eps=options.eps,
        nesterov=True,
        consistent_rms=_MUON_RMS,
        muon_weight_dimension_numbers=_kernels,
    )
    return optax.chain(both, optax.scale(-1.0))


def _dtype(name: str) -> np.dtype:
    return jnp.dtype(name)


def _kernels(params: Any) -> Any:
    """Return each leaf's axes for Muon, None for those that Adam updates."""

    def axes(path: tuple[Any, ...], _: Any) -> MuonDimensionNumbers | None:
        names = [str(getattr(part, "key", getattr(part, "name", part))) for part in path]
        if "kernel" not in names:
            return None
        return _KERNELS[names[names.index("kernel") - 1]]

    return jax.tree_util.tree_map_with_path(axes, params)


def _decayed(params: Any) -> Any:
    """Return True for every leaf but norms and biases, by name (layers are stacked, so not by rank)."""

    def decays(path: tuple[Any, ...], _: Any) -> bool:
        name = jax.tree_util.keystr(path).lower()
        return "norm" not in name and "bias" not in name

    return jax.tree_util.tree_map_with_path(decays, params)
