"""STaR-Acc, accumulating STaR: the baseline of AdaSTaR, arXiv 2505.16322.

    round t    as `star`, but training goes on from the last policy instead of the base model

With all queries solved all of them are trained on, one response each; with none solved there is nothing
to train on in this round, and the policy stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.star_family import Star, StarOptions
from dast_jax.records import Pool

__all__ = ["Options", "make"]


@dataclass(frozen=True, kw_only=True)
class Options(StarOptions):
    """Options of `method.name: star_acc`."""


def make(pool: Pool, options: Options, seed: int, tools: object = None) -> Star:
    """The method bound to its pool."""
    return Star(pool, options, seed, start="continue")
