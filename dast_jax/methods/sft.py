"""SFT on the reference solutions, the baseline of every comparison.

    round t    train on D_o, the reference solutions; nothing is sampled

The outcome of trials plays no part: a pool of which all or none can be solved is trained on alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.methods.common import MethodBase, require_references
from dast_jax.methods.training_sets import reference_set
from dast_jax.records import Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["Options", "Sft", "make"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """`method.name: sft` has no options of its own."""


def make(pool: Pool, options: Options, seed: int, tools: object = None) -> Sft:
    """The method bound to its pool; raises `UserError` when no query of it has a reference solution."""
    require_references(pool, "method sft trains on;")
    return Sft(pool, options, seed)


class Sft(MethodBase):
    """See the module's docstring."""

    def requests(self, tally: Tally) -> Requests:
        return Requests.none()

    def training_set(self, responses: Responses) -> TrainingSet:
        return reference_set(self._pool)
