"""AdamW and its learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from dast_jax.training.options import TrainingOptions

__all__ = ["learning_rate", "make_optimizer"]


def learning_rate(options: TrainingOptions, step: int, total: int) -> float:
    """Return the learning rate of step `step` (from 0) of `total`.

    With w = ceil(warmup_fraction * total) it is, for step < w, peak * (step + 1) / (w + 1), so that no
    step is wasted at zero; after that, with u = (step - w) / (total - w): peak for "constant",
    peak * (1 - u) for "linear" and peak * (1 + cos(pi * u)) / 2 for "cosine".
    """
    peak = options.learning_rate
    warmup = math.ceil(options.warmup_fraction * total)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / (total - warmup)
    if options.schedule == "constant":
        return peak
    if options.schedule == "linear":
        return peak * (1 - progress)
    return peak * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(options: TrainingOptions) -> optax.GradientTransformation:
    """Return clipping and AdamW (arXiv 1711.05101), without the learning rate.

    The step scales the updates by minus the learning rate, which is an argument of it, so that one
    compiled step serves rounds of any number of steps. Norms and biases are not decayed.
    """
    clip = optax.clip_by_global_norm(options.clip_norm) if options.clip_norm else optax.identity()
    return optax.chain(
        clip,
        optax.scale_by_adam(b1=options.b1, b2=options.b2, eps=options.eps),
        optax.add_decayed_weights(options.weight_decay, mask=_decayed),
    )


def _decayed(params: Any) -> Any:
    """Return True for every leaf but norms and biases, by name (layers are stacked, so not by rank)."""

    def decays(path: tuple[Any, ...], _: Any) -> bool:
        name = jax.tree_util.keystr(path).lower()
        return "norm" not in name and "bias" not in name

    return jax.tree_util.tree_map_with_path(decays, params)
