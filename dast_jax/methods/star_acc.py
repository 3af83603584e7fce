"""STaR-Acc, accumulating STaR: the baseline of AdaSTaR, arXiv 2505.16322.

    round t    as `star`, but training continues from the last policy instead of the base model

The whole pool is tried up to K = 2 times each round, and β^t of the successes are trained on: the sampling
that this wastes is what AdaSTaR saves. `beta: full` trains on all of them (STaR-Acc-Full), and with
`trials: 5` it is STaR-Acc-Full-K.

With all queries solved β^t of them are drawn, one response each; with none solved there is nothing to train
on in this round, and the policy is unchanged.
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
