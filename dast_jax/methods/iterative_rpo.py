"""Iterative reasoning preference optimization, arXiv 2404.19733.

    round t    sample every query K times with the last policy; random pairs of a correct and an incorrect
               response; train from the last policy by DPO + α · NLL of the chosen response,
               length-normalized, with the last policy as reference

From the paper: K = 30, 10 pairs a query, β = 0.1, α = 1 (`training.beta`, `training.rpo_alpha`); the loss
is `rpo` unless `training.preference_loss` says otherwise. [ours] Round 0 is SFT on the reference solutions
(`warm_up`), where the paper starts from a chat model. A query whose trials are all correct or none correct
has no pair; if all queries are so, there is nothing to train on in this round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.base import MethodOptions, distinct_option, exemplars_option, warm_up_option
from dast_jax.methods.equal_trial_pairs import EqualTrialPairs
from dast_jax.options import opt

__all__ = ["IterativeRpo", "Options"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: iterative_rpo`."""

    trials: int = opt(30, "K, the trials per query and round", min=2)
    pairs: int = opt(10, "maximum pairs per query", min=1)
    distinct: str = distinct_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)


class IterativeRpo(EqualTrialPairs):
    """Run the algorithm box above."""

    preference_loss = "rpo"
