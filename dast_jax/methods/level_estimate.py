"""Difficulty from the first K trials of every query in a round: requesting them, and estimating from them.

DAST (arXiv 2503.09029) and DART (arXiv 2407.13690) both begin with K trials of each query. These belong to
the estimate regardless of what else is sampled in that round, so an estimate can be repeated from the stored
responses. Pure functions on columns, and the options that DAST shares with its relatives.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators import ESTIMATORS, Estimate, estimate
from dast_jax.estimators.levels import Cuts, levels_from_counts, smallest_trials
from dast_jax.llm.judge import JudgeOptions
from dast_jax.methods.allocation import numbered
from dast_jax.methods.annotations import Annotation, Ratings
from dast_jax.methods.base import MethodOptions
from dast_jax.options import opt
from dast_jax.records import Pool, PromptKind, Requests, Responses, Tally

__all__ = [
    "LevelOptions",
    "check_estimate",
    "correct_trials",
    "estimate_levels",
    "estimate_requests",
    "of_estimate",
    "warn_of",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LevelOptions(MethodOptions):
    """How levels are estimated; the defaults are [ours] unless they say otherwise."""

    estimator: str = opt(
        "sampled",
        "source of the levels: sampled (pass rates and cut points), or a ranking by fail_rate, self_aware, "
        "label, uncertainty or judge, cut by the level shares of DAST's data",
        choices=ESTIMATORS,
    )
    trials: int = opt(16, "K, the trials per query that estimate its level", min=1)
    easy_cut: float = opt(0.75, "a query is easy from this pass rate up", min=0, max=1)
    hard_cut: float = opt(
        0.25, "a query is hard below this pass rate, and middle from it to easy_cut", min=0, max=1
    )
    re_estimate: str = opt(
        "never",
        "when levels are estimated again: never (the paper's way), or every_round with K fresh trials",
        choices=("never", "every_round"),
    )
    judge: JudgeOptions = opt(JudgeOptions, "the model that rates queries, for estimator: judge")

    def __post_init__(self) -> None:
        if not 0 < self.hard_cut < self.easy_cut <= 1:
            raise UserError(
                f"method.hard_cut, method.easy_cut: need 0 < hard_cut < easy_cut <= 1, "
                f"got {self.hard_cut:g} and {self.easy_cut:g}"
            )
        estimator = self.judge.fallback if self.estimator == "judge" else self.estimator
        if estimator == "sampled" and self.trials < smallest_trials(self.cuts):
            raise UserError(
                f"method.trials: {self.trials} trials leave the hard level empty, as no pass rate lies "
                f"between 0 and hard_cut ({self.hard_cut:g}); use at least {smallest_trials(self.cuts)}"
            )

    @property
    def cuts(self) -> Cuts:
        """The cut points of the pass rate."""
        return Cuts(easy=self.easy_cut, hard=self.hard_cut)

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """The judge's ratings, where it is the estimator."""
        return (Ratings(self.judge),) if self.estimator == "judge" else ()


def check_estimate(pool: Pool, options: LevelOptions) -> None:
    """Raise `UserError` where the estimator, or the judge's fallback, needs labels that the data lacks."""
    fallback = options.judge.fallback if options.estimator == "judge" else None
    if "label" in (options.estimator, fallback):
        try:
            estimate("label", pool.queries)
        except UserError as error:
            raise UserError(f"method.{error}") from error


def estimate_requests(tally: Tally, trials: int, kind: PromptKind) -> Requests | None:
    """Return what is missing of the first `trials` trials of every query; None when all have finished."""
    missing = np.maximum(trials - tally.requested, 0)
    if missing.any():
        return numbered(missing, tally, kind)
    return Requests.none() if (tally.finished < trials).any() else None


def of_estimate(responses: Responses, round: int, trials: int) -> np.ndarray:
    """Return which of `responses` belong to the estimate made in `round`, bool [m]."""
    rows: np.ndarray = (responses.round == round) & (responses.trial < trials)
    return rows


def correct_trials(responses: Responses, which: np.ndarray, n_queries: int) -> np.ndarray:
    """Return how many of the responses chosen by `which` (bool [m]) are correct, by query: int64 [n]."""
    return np.bincount(responses.query[which & responses.correct], minlength=n_queries)


def estimate_levels(
    pool: Pool, options: LevelOptions, correct: np.ndarray, trials: Sequence[Responses]
) -> tuple[np.ndarray, dict[str, str | int]]:
    """Return levels int8 [n] by the estimator of `options`, and facts: its name and counts worth a warning.

    `sampled`, which has no facts, looks at how many of K trials were `correct`, int [n]; the others look at
    the `trials` themselves, or at the pool's labels and ratings.
    """
    if options.estimator == "sampled":
        return levels_from_counts(correct, options.trials, options.cuts), {}
    found: Estimate = estimate(
        options.estimator,
        pool.queries,
        Responses.concatenate([Responses.none(), *trials]),
        cuts=options.cuts,
        judge=lambda _: (pool.columns[Ratings.column], {}),
        fallback=options.judge.fallback,
    )
    return found.levels, {"estimator": options.estimator, **found.notes}


def warn_of(facts: Mapping[str, object], round: int) -> None:
    """Warn of the counts among the facts of an estimate: queries that were unrated, requests that failed."""
    for name, count in facts.items():
        if name != "estimator":
            log.warning("round %d: estimator %s: %s %s", round, facts["estimator"], name, count)
