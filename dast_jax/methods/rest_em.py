"""ReST^EM, arXiv 2312.06585.

    round t    E-step: sample every query K times with the last policy, keep the correct responses, at
               most 10 of a query
               M-step: train the base model on them

From the paper: K samples per query (32 for mathematics), at most 10 kept so that easy queries do not fill the
set, and training from the base model each round. [ours] The first distinct ones by trial are kept. With
all queries solved the limit balances the set; with none solved there is nothing to train on in this
round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.base import MethodOptions, distinct_option, exemplars_option, warm_up_option
from dast_jax.methods.rejection import RejectionSampling
from dast_jax.options import opt
from dast_jax.records import Pool

__all__ = ["Options", "RestEm"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: rest_em`."""

    trials: int = opt(32, "K, the trials per query and round", min=1)
    at_most: int = opt(10, "maximum responses kept per query", min=1)
    distinct: str = distinct_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)


class RestEm(RejectionSampling):
    """Run the algorithm box above."""

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed, at_most=options.at_most)
