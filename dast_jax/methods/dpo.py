"""DPO on static pairs, arXiv 2305.18290: the baseline of DAST-D.

    round 0    train on D_o, the reference solutions (SFT)
    round 1    sample every query the same number of times; pair correct with incorrect responses; DPO
    round t    DPO on the same pairs, from the last policy

One sampling pass, the same number of trials for all queries, no difficulty. From DAST's repository: 10
trials. [ours] Random pairs, `pairs` of a query at most, all different. A query whose trials are all correct
or none correct has no pair; with all queries so there is nothing to train on, and the policy stays as it
is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dast_jax.methods.common import exemplars_option, warm_up_option
from dast_jax.methods.equal_trial_pairs import EqualTrialPairs
from dast_jax.options import opt
from dast_jax.records import Pool, Responses

__all__ = ["Dpo", "Options", "make"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `method.name: dpo`."""

    trials: int = opt(10, "trials per query, all in one pass", min=2)
    pairs: int = opt(4, "most pairs of a query", min=1)
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)


def make(pool: Pool, options: Options, seed: int, tools: object = None) -> Dpo:
    """The method bound to its pool."""
    return Dpo(pool, options, seed)


class Dpo(EqualTrialPairs):
    """See the module's docstring."""

    def wanted_rounds(self, round: int) -> Sequence[int]:
        """The round of the sampling pass: its trials are every later round's."""
        first = int(self._options.warm_up)
        return (first,) if round > first else ()

    def start_round(self, round: int, earlier: Responses) -> Responses:
        super().start_round(round, earlier)
        return earlier
