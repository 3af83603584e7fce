"""STaR, self-taught reasoner, arXiv 2203.14465.

    round t    try every query once with the last policy; where it fails, optionally try again with the
               answer as a hint (rationalization); train the base model on the correct responses

From the paper: few-shot tries, rationalization, training restarted from the base model every round. [ours]
Every round takes the whole pool, and by default free answers (mathematics) are not rationalized, as
`rationalize` says. With all queries solved all of them are trained on, one response each; with none solved
there is nothing to train on in this round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.star_family import StarBase, StarOptions

__all__ = ["Options", "Star"]


@dataclass(frozen=True, kw_only=True)
class Options(StarOptions):
    """Options of `method.name: star`."""


class Star(StarBase):
    """Run the algorithm box above."""

    start = "restart"
