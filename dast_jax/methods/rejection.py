"""Rejection sampling with the same number of trials for every query: the core of vrt, rft and rest_em."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dast_jax.estimators.levels import levels_from_counts
from dast_jax.methods.common import MethodBase, numbered
from dast_jax.methods.coverage import coverage
from dast_jax.methods.training_sets import (
    distinct_rows,
    first_rows,
    reference_set,
    text_set,
    union,
    usable_rows,
)
from dast_jax.records import Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["RejectionSampling"]


class RejectionSampling(MethodBase):
    """`trials` of every query; the correct ones are trained on.

    `distinct` drops those whose normalised text repeats an earlier one's, `at_most` (0: no limit) keeps so
    many of a query, the first by trial, and `references` adds the reference solutions, which then are
    earlier ones too. Correct means usable:
    a truncated response is never trained on.
    """

    start = "restart"

    def __init__(
        self,
        pool: Pool,
        options: Any,
        seed: int,
        *,
        distinct: bool,
        references: bool = False,
        at_most: int = 0,
    ):
        super().__init__(pool, options, seed)
        self._distinct, self._references, self._at_most = distinct, references, at_most
        self._levels: np.ndarray | None = None
        self._facts: dict[str, Any] = {}

    def requests(self, tally: Tally) -> Requests:
        """All trials at once."""
        if self._warming_up:
            return Requests.none()
        return numbered(np.maximum(self._options.trials - tally.requested, 0), tally, self._plain)

    def training_set(self, responses: Responses) -> TrainingSet:
        if self._warming_up:
            return reference_set(self._pool)
        n = len(self._pool)
        if self._levels is None:
            solved = np.bincount(responses.query[responses.correct], minlength=n)
            self._levels = levels_from_counts(solved, self._options.trials)
        beside = self._pool if self._references else None
        rows = distinct_rows(responses, beside=beside) if self._distinct else usable_rows(responses)
        if self._at_most:
            rows = first_rows(responses, rows, np.full(n, self._at_most))
        kept = np.bincount(responses.query[rows], minlength=n)
        self._facts = {"coverage": coverage(self._pool, self._levels, kept)}
        found = text_set(responses, rows)
        return union(reference_set(self._pool), found) if self._references else found

    def levels(self) -> np.ndarray | None:
        """By the trials of the first round that has any; for the report, the method does not use them."""
        return self._levels

    def state(self) -> Mapping[str, np.ndarray]:
        return {} if self._levels is None else {"levels": self._levels}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._levels = np.asarray(state["levels"], np.int8) if "levels" in state else None

    def facts(self) -> Mapping[str, Any]:
        return self._facts
