"""Preference training on equal trials: what `dpo` and `iterative_rpo` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dast_jax.methods.common import MethodBase, numbered
from dast_jax.methods.pairs import candidates, draw_pairs
from dast_jax.methods.training_sets import reference_set
from dast_jax.records import PreferenceSet, Requests, Responses, Tally, TrainingSet

__all__ = ["EqualTrialPairs"]


class EqualTrialPairs(MethodBase):
    """`trials` of every query, then `pairs` random pairs of each that has correct and incorrect responses."""

    _facts: Mapping[str, Any] = {}

    def requests(self, tally: Tally) -> Requests:
        """All trials at once."""
        if self._warming_up:
            return Requests.none()
        return numbered(np.maximum(self._options.trials - tally.requested, 0), tally, self._plain)

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        if self._warming_up:
            return reference_set(self._pool)
        n = len(self._pool)
        chosen, rejected = candidates(responses, n, [self._seed])
        self._facts = {
            "with_pairs": float(((chosen.count > 0) & (rejected.count > 0)).mean()),
            "without_correct": float((chosen.count == 0).mean()),
            "without_incorrect": float((rejected.count == 0).mean()),
        }
        return draw_pairs(chosen, rejected, np.full(n, self._options.pairs))

    def facts(self) -> Mapping[str, Any]:
        return self._facts
