"""Vanilla rejection tuning (VRT), the baseline of DART-Math, arXiv 2407.13690.

    round t    sample every query the same number of times; train on the correct responses

From the authors' code: 52 raw trials per query. The paper makes one data set from the base model; here every
round samples with the last policy and, [ours], restarts training from the base model. With all queries
solved the easy ones fill the set, as always; with none solved there is nothing to train on in this
round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.base import MethodOptions, distinct_option, exemplars_option, warm_up_option
from dast_jax.methods.rejection import RejectionSampling
from dast_jax.options import opt
from dast_jax.records import Pool

__all__ = ["Options", "Vrt"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: vrt`."""

    trials: int = opt(52, "raw trials per query and round", min=1)
    distinct: str = distinct_option("none")
    references: bool = opt(False, "train on the reference solutions too")
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)


class Vrt(RejectionSampling):
    """Run the algorithm box above."""

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed, references=options.references)
