"""STaR, self-taught reasoner, arXiv 2203.14465.

    round t    try every query K = 2 times at most with the last policy: a plain try, then, where it failed,
               one with the answer as a hint (rationalization), or a plain one where the task has no hint;
               train the base model on β^t of the successes, one of each query at most

From the paper: few-shot tries, rationalization, training restarted from the base model every round, for a
number of steps that grows by 20 %. As AdaSTaR (arXiv 2505.16322) runs it: a second plain try of free answers
(`rationalize`), β^t = 8·⌊40·1.2^(t−1)⌋ examples in round t; `beta: full` trains on all successes (STaR-Full).
[ours] Every round tries the whole pool; solved means usable: a truncated response does not count.

With all queries solved β^t of them are drawn, one response each; with none solved there is nothing to train
on in this round, and the policy is unchanged.
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
