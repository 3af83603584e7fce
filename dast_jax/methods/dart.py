"""DART's sampling to a target of correct responses per query, arXiv 2407.13690; the two targets are in
`dart_uniform` and `dart_prop2diff`.

    estimate   K raw trials of every query; difficulty f_i = share of them that failed
    sample     each query until it has its target of correct responses, or its trials are spent; the
               estimate's trials are reused as data
    train      on the responses that count toward the targets

From the paper: fail rate, the targets, the cap, the reuse. The authors' code stops when there are more
correct ones than the target, one too many; here a query stops at exactly its target, counted in the order
of its trials, whatever was in flight. [ours] K; fail rates stay those of the first estimate
(`re_estimate`), estimated behind the same exemplars for all queries; duplicates do not count (`distinct`);
with `warm_up` round 0 estimates with the base model, trains on the reference solutions, and its trials count
toward round 1.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from dast_jax.estimators.levels import levels_from_counts
from dast_jax.methods.allocation import numbered, top_up
from dast_jax.methods.base import (
    Method,
    MethodOptions,
    RoundStart,
    distinct_option,
    exemplars_option,
    warm_up_option,
)
from dast_jax.methods.coverage import coverage
from dast_jax.methods.level_estimate import correct_trials, estimate_requests, of_estimate
from dast_jax.methods.training_sets import distinct_rows, first_rows, reference_set, text_set
from dast_jax.options import opt
from dast_jax.records import LEVELS, Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["Dart", "DartOptions"]


@dataclass(frozen=True, kw_only=True)
class DartOptions(MethodOptions):
    """Options of both DART methods; the defaults are [ours] unless they say otherwise."""

    trials: int = opt(16, "K, the raw trials per query that estimate its fail rate", min=1)
    re_estimate: str = opt(
        "never",
        "when fail rates are estimated again: never, or every_round by the round's first K trials",
        choices=("never", "every_round"),
    )
    max_trials: int = opt(
        512, "n_max, the maximum trials per query and round, the estimate's included", min=1
    )
    distinct: str = distinct_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)

    def __post_init__(self) -> None:
        if self.max_trials < self.trials:
            raise ValueError(
                f"max_trials: {self.max_trials} is less than trials ({self.trials}), which count toward it; "
                "raise it"
            )


class Dart(Method):
    """Sampling to `targets` of the fail rates; a subclass gives them."""

    start = "restart"
    state = ("solved", "levels")

    def __init__(self, pool: Pool, options: DartOptions, seed: int):
        super().__init__(pool, options, seed)
        self.solved: np.ndarray | None = None  # of the estimate's K trials, int32 [n]
        self._estimating = False

    @abstractmethod
    def targets(self, failed: np.ndarray) -> np.ndarray:
        """Return the correct responses wanted per query, int64 [n]; `failed` int64 [n] is K·f_i."""

    # --- which queries to sample next ---

    def begin(self, round: RoundStart) -> Responses:
        """Carry over the estimate's trials to round 1 where they were sampled in a warm-up round."""
        super().begin(round)
        self._estimating = self.solved is None or self.options.re_estimate == "every_round"
        if round.number == 1 and self.options.warm_up and not self._estimating:
            return round.history(0)
        return Responses.none()

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return K trials of every query first; when all have finished, those that lead to the targets."""
        if self._estimating:
            requests = estimate_requests(tally, self.options.trials, self.fixed)
            if requests is not None:
                return requests
            self._estimate(tally.correct)
        if self.warming_up:
            return Requests.none()
        deficit = np.maximum(self._targets() - tally.distinct, 0)
        return numbered(top_up(deficit, tally.distinct, tally, self.options.max_trials), tally, self.plain)

    def _estimate(self, solved: np.ndarray) -> None:
        """Take the estimate; `levels` are for the report, the targets follow the fail rates."""
        self.solved = solved.astype(np.int32)
        self.levels = levels_from_counts(self.solved, self.options.trials)
        self._estimating = False

    def _targets(self) -> np.ndarray:
        assert self.solved is not None, "the estimate comes first"
        return self.targets(self.options.trials - self.solved.astype(np.int64))

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return the first correct responses of each query up to its target."""
        n = len(self.pool)
        if self._estimating:
            first = of_estimate(responses, self.round, self.options.trials)
            self._estimate(correct_trials(responses, first, n))
        if self.warming_up:
            return reference_set(self.pool)
        levels, targets = self.levels, self._targets()
        assert levels is not None
        rows = first_rows(responses, distinct_rows(responses, self.distinct), targets)
        kept = np.bincount(responses.query[rows], minlength=n)
        self.facts = {"coverage": coverage(self.pool, levels, kept, targets)}
        short = targets - kept
        return text_set(
            responses, rows, {name: int(short[levels == i].sum()) for i, name in enumerate(LEVELS)}
        )
