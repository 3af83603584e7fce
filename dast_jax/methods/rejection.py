"""Rejection sampling with the same number of trials for every query: the core of vrt, rft and rest_em."""

from __future__ import annotations

from typing import Any

import numpy as np

from dast_jax.estimators.levels import levels_from_counts
from dast_jax.methods.allocation import numbered
from dast_jax.methods.base import Method
from dast_jax.methods.coverage import coverage
from dast_jax.methods.training_sets import (
    distinct_rows,
    first_rows,
    reference_set,
    text_set,
    union,
)
from dast_jax.records import Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["RejectionSampling"]


class RejectionSampling(Method):
    """`trials` of every query; the correct ones are trained on.

    Those that repeat an earlier one are dropped, as `options.distinct` says; `at_most` (0: no limit) keeps
    the first ones of a query by trial, and `references` adds the reference solutions, which then are
    earlier ones too. Correct means usable: a truncated response is never trained on. `levels`, by the trials
    of the first round that has any, are for the report; the method does not use them.
    """

    start = "restart"
    state = ("levels",)

    def __init__(
        self,
        pool: Pool,
        options: Any,
        seed: int,
        *,
        references: bool = False,
        at_most: int = 0,
    ):
        super().__init__(pool, options, seed)
        self._with_references, self._at_most = references, at_most

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return all trials in one batch."""
        if self.warming_up:
            return Requests.none()
        return numbered(np.maximum(self.options.trials - tally.requested, 0), tally, self.plain)

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return the correct responses, filtered and limited as the method requires."""
        if self.warming_up:
            return reference_set(self.pool)
        n = len(self.pool)
        if self.levels is None:
            solved = np.bincount(responses.query[responses.correct], minlength=n)
            self.levels = levels_from_counts(solved, self.options.trials)
        references_of = self.pool if self._with_references else None
        rows = distinct_rows(responses, self.distinct, references_of=references_of)
        if self._at_most:
            rows = first_rows(responses, rows, np.full(n, self._at_most))
        kept = np.bincount(responses.query[rows], minlength=n)
        self.facts = {"coverage": coverage(self.pool, self.levels, kept)}
        found = text_set(responses, rows)
        return union(reference_set(self.pool), found) if self._with_references else found
