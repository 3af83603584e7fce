"""STaR-Acc, accumulating STaR: the baseline of AdaSTaR, arXiv 2505.16322.

    round t    as `star`, but training continues from the last policy instead of the base model

With all queries solved all of them are trained on, one response each; with none solved there is nothing
to train on in this round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.star_family import StarBase, StarOptions

__all__ = ["Options", "StarAcc"]


@dataclass(frozen=True, kw_only=True)
class Options(StarOptions):
    """Options of `method.name: star_acc`."""


class StarAcc(StarBase):
    """Run the algorithm box above."""

    start = "continue"
