"""DART's sampling to a target of correct responses per query, arXiv 2407.13690; the two targets are in
`dart_uniform` and `dart_prop2diff`.

    estimate   K raw trials of every query; difficulty f_i = share of them that failed
    sample     each query until it has its target of correct responses, or its trials are spent; the
               estimate's trials are reused as data
    train      on the responses that count toward the targets

From the paper: fail rate, the targets, the cap, the reuse. The authors' code stops when there are more
correct ones than the target, one too many; here a query stops at exactly its target, counted in the order
of its trials, whatever was in flight. [ours] K; fail rates stay those of the first estimate
(`re_estimate`); duplicates are told by normalised text; with `warm_up` round 0 estimates with the base
model, trains on the reference solutions, and its trials count toward round 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.estimators.levels import levels_from_counts
from dast_jax.methods.common import MethodBase, exemplars_option, numbered, top_up, warm_up_option
from dast_jax.methods.coverage import coverage
from dast_jax.methods.training_sets import distinct_rows, first_rows, reference_set, text_set, usable_rows
from dast_jax.options import opt
from dast_jax.records import LEVELS, Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["Dart", "DartOptions"]


@dataclass(frozen=True, kw_only=True)
class DartOptions:
    """Options of both DART methods; the defaults are [ours] unless they say otherwise."""

    trials: int = opt(16, "K, the raw trials per query that estimate its fail rate", min=1)
    re_estimate: str = opt(
        "never",
        "when fail rates are estimated again: never, or every_round by the round's first K trials",
        choices=("never", "every_round"),
    )
    max_trials: int = opt(512, "n_max, most trials per query and round; the estimate's count", min=1)
    drop_duplicates: bool = opt(True, "responses whose normalised text repeats an earlier one's do not count")
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)

    def __post_init__(self) -> None:
        if self.max_trials < self.trials:
            raise ValueError(
                f"max_trials: {self.max_trials} is less than trials ({self.trials}), which count toward it; "
                "raise it"
            )


class Dart(MethodBase):
    """Sampling to `targets` of the fail rates; a subclass gives them."""

    start = "restart"

    def __init__(self, pool: Pool, options: DartOptions, seed: int):
        super().__init__(pool, options, seed)
        self._solved: np.ndarray | None = None  # of the estimate's K trials, int32 [n]
        self._estimating = False
        self._facts: dict[str, Any] = {}

    @abstractmethod
    def targets(self, failed: np.ndarray) -> np.ndarray:
        """Correct responses wanted per query, int64 [n]; `failed` int64 [n] are K·f_i of the estimate."""

    # --- whom to sample next ---

    def wanted_rounds(self, round: int) -> Sequence[int]:
        """The estimate's round, where its trials are data for round 1."""
        return (0,) if round == 1 and self._options.warm_up else ()

    def start_round(self, round: int, earlier: Responses) -> Responses:
        super().start_round(round, earlier)
        self._estimating = self._solved is None or self._options.re_estimate == "every_round"
        return Responses.none() if self._estimating else earlier

    def requests(self, tally: Tally) -> Requests:
        """First K trials of every query; when all have finished, on to the targets."""
        if self._estimating:
            missing = np.maximum(self._options.trials - tally.requested, 0)
            if missing.any():
                return numbered(missing, tally, self._plain)
            if (tally.finished < self._options.trials).any():
                return Requests.none()
            self._estimate(tally.correct)
        if self._warming_up:
            return Requests.none()
        found = tally.distinct if self._options.drop_duplicates else tally.usable
        deficit = np.maximum(self._targets() - found, 0)
        return numbered(top_up(deficit, found, tally, self._options.max_trials), tally, self._plain)

    def _estimate(self, solved: np.ndarray) -> None:
        self._solved = solved.astype(np.int32)
        self._estimating = False

    def _targets(self) -> np.ndarray:
        assert self._solved is not None, "the estimate comes first"
        return self.targets(self._options.trials - self._solved.astype(np.int64))

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet:
        n = len(self._pool)
        if self._estimating:
            first = (responses.round == self._round) & (responses.trial < self._options.trials)
            self._estimate(np.bincount(responses.query[first & responses.correct], minlength=n))
        if self._warming_up:
            return reference_set(self._pool)
        levels, targets = self.levels(), self._targets()
        assert levels is not None
        rows = distinct_rows(responses) if self._options.drop_duplicates else usable_rows(responses)
        rows = first_rows(responses, rows, targets)
        kept = np.bincount(responses.query[rows], minlength=n)
        self._facts = {"coverage": coverage(self._pool, levels, kept, targets)}
        short = targets - kept
        return text_set(
            responses, rows, {name: int(short[levels == i].sum()) for i, name in enumerate(LEVELS)}
        )

    # --- what to remember ---

    def levels(self) -> np.ndarray | None:
        """By the estimate's trials; for the report, the targets follow the fail rates."""
        return None if self._solved is None else levels_from_counts(self._solved, self._options.trials)

    def state(self) -> Mapping[str, np.ndarray]:
        """`solved` int32 [n]: how many of the estimate's K trials were correct."""
        return {} if self._solved is None else {"solved": self._solved.copy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._solved = np.asarray(state["solved"], np.int32) if "solved" in state else None

    def facts(self) -> Mapping[str, Any]:
        return self._facts
