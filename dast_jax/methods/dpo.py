"""DPO on static pairs, arXiv 2305.18290: the baseline of DAST-D.

    round 0    train on D_o, the reference solutions (SFT)
    round 1    sample every query the same number of times; pair correct with incorrect responses; DPO
    round t    DPO on the same pairs, from the last policy

One sampling pass, the same number of trials for all queries, no difficulty. From DAST's repository: 10
trials. [ours] Random pairs, at most `pairs` per query, all different. A query whose trials are all correct
or all incorrect has no pair; if that holds for all queries, there is nothing to train on, and the policy is
unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.base import (
    MethodOptions,
    RoundStart,
    distinct_option,
    exemplars_option,
    warm_up_option,
)
from dast_jax.methods.equal_trial_pairs import EqualTrialPairs
from dast_jax.options import opt
from dast_jax.records import Responses

__all__ = ["Dpo", "Options"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: dpo`."""

    trials: int = opt(10, "trials per query, all in one pass", min=2)
    pairs: int = opt(4, "maximum pairs per query", min=1)
    distinct: str = distinct_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)


class Dpo(EqualTrialPairs):
    """Run the algorithm box above."""

    def begin(self, round: RoundStart) -> Responses:
        """Carry over the trials of the one sampling pass."""
        super().begin(round)
        first = int(self.options.warm_up)
        return round.history(first) if round.number > first else Responses.none()
