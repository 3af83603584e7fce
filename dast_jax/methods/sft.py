"""SFT on the reference solutions, the baseline of every comparison.

    round t    train on D_o, the reference solutions; nothing is sampled

Trials play no role: a pool is trained on in the same way whether all or none of it can be solved.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.base import Method, MethodOptions, require_references
from dast_jax.methods.training_sets import reference_set
from dast_jax.records import Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["Options", "Sft"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """`method.name: sft` has no options."""


class Sft(Method):
    """Train on the reference solutions, every round."""

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        require_references(pool, "method sft trains on;")

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return nothing."""
        return Requests.none()

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return D_o."""
        return reference_set(self.pool)
