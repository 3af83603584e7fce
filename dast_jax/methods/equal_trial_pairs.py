"""Preference training on equal trials, shared by `dpo` and `iterative_rpo`."""

from __future__ import annotations

import numpy as np

from dast_jax.methods.allocation import numbered
from dast_jax.methods.base import Method
from dast_jax.methods.pairs import candidates, draw_pairs
from dast_jax.methods.training_sets import reference_set
from dast_jax.records import PreferenceSet, Requests, Responses, Tally, TrainingSet

__all__ = ["EqualTrialPairs"]


class EqualTrialPairs(Method):
    """`trials` of every query, then `pairs` random pairs of each that has correct and incorrect responses."""

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return all trials in one batch."""
        if self.warming_up:
            return Requests.none()
        return numbered(np.maximum(self.options.trials - tally.requested, 0), tally, self.plain)

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        """Return random pairs of each query's responses."""
        if self.warming_up:
            return reference_set(self.pool)
        n = len(self.pool)
        chosen, rejected = candidates(responses, n, [self.seed], self.distinct)
        self.facts = {
            "with_pairs": float(((chosen.count > 0) & (rejected.count > 0)).mean()),
            "without_correct": float((chosen.count == 0).mean()),
            "without_incorrect": float((rejected.count == 0).mean()),
        }
        return draw_pairs(chosen, rejected, np.full(n, self.options.pairs))
