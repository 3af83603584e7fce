"""Optimizers and the learning-rate schedule, from optax."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.contrib import MuonDimensionNumbers, muon

from dast_jax.training.options import TrainingOptions

__all__ = ["learning_rate", "make_optimizer"]

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


def make_optimizer(options: TrainingOptions) -> optax.GradientTransformation:
    """Return clipping, the optimizer's direction and decoupled weight decay, without the learning rate.

    The step scales the updates by minus the learning rate, which is an argument of it, so that one
    compiled step serves rounds of any number of steps. Norms and biases are not decayed. AdamW: arXiv
    1711.05101; Adafactor: 1804.04235, with given learning rates and without momentum; Muon: 2502.16982.
    """
    clip = optax.clip_by_global_norm(options.clip_norm) if options.clip_norm else optax.identity()
    direction = {"adamw": _adam, "adafactor": _adafactor, "muon": _muon}[options.optimizer](options)
    return optax.chain(clip, direction, optax.add_decayed_weights(options.weight_decay, mask=_decayed))


def _adam(options: TrainingOptions) -> optax.GradientTransformation:
    moment = _dtype(options.moment_dtype)
    return optax.scale_by_adam(b1=options.b1, b2=options.b2, eps=options.eps, mu_dtype=moment)


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
