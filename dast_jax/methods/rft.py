"""Rejection-sampling fine-tuning (RFT), arXiv 2308.01825.

    round 0    train on D_o, the reference solutions
    round t    sample every query the same number of times with the last policy; of its correct responses
               drop those that repeat another or the reference; train the base model on them and D_o

From the paper: an SFT policy samples, distinct correct responses augment D_o, the base model is trained. It
distinguishes reasoning paths by their equations; [ours] by all numbers and operators in order, and by the
text for tasks that have none (`distinct`).
The paper samples up to 100 times. With all queries solved every query gives its distinct responses; with
none solved the round trains on the reference solutions alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.base import MethodOptions, distinct_option, exemplars_option, warm_up_option
from dast_jax.methods.rejection import RejectionSampling
from dast_jax.options import opt
from dast_jax.records import Pool

__all__ = ["Options", "Rft"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: rft`."""

    trials: int = opt(100, "raw trials per query and round", min=1)
    references: bool = opt(True, "train on the reference solutions too")
    distinct: str = distinct_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)


class Rft(RejectionSampling):
    """Run the algorithm box above."""

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed, references=options.references)
