"""How hard a query is: six estimators with one result, a score and a level per query.

    sampled      levels from the pass rate of trials by cut points (DAST, arXiv 2503.09029); the default
    fail_rate    share of trials that failed (DART, arXiv 2407.13690)
    self_aware   lexicographic: P@K, then steps, then length (SAI-DPO, arXiv 2505.16176)
    label        the data set's own level
    uncertainty  mean token entropy of the trials
    judge        the rating of another model

Scores order the queries, larger is harder; only `sampled` defines its own levels. [ours] The others rank the
queries, and their levels are shares of the ranking (`levels_by_rank`), so any of them can replace
`sampled`. Everything here works on columns and imports no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int8, Shaped

from dast_jax.errors import UserError
from dast_jax.estimators.levels import DEFAULT_CUTS, Cuts, fail_rate, levels_from_counts
from dast_jax.estimators.step_count import steps_of
from dast_jax.metrics.stats import sorted_levels
from dast_jax.options import nearest
from dast_jax.records import LEVELS, Query, Responses

__all__ = [
    "DEFAULT_SHARES",
    "ESTIMATORS",
    "NEEDS_TRIALS",
    "Estimate",
    "Rater",
    "TrialSums",
    "check_rated",
    "estimate",
    "levels_by_rank",
    "rank_quantiles",
]

ESTIMATORS = ("sampled", "fail_rate", "self_aware", "label", "uncertainty", "judge")
"""Names of the estimators, as options take them."""

NEEDS_TRIALS = ("sampled", "fail_rate", "self_aware", "uncertainty")
"""Those of them that are made from trials."""

DEFAULT_SHARES = (0.364, 0.383, 0.165, 0.088)
"""Shares of easy, middle, hard and unsolved queries in DAST's data before augmentation (its figure)."""

Rater = Callable[[Sequence[str]], "tuple[np.ndarray, Mapping[str, int]]"]
"""Questions in, ratings float64 [n] (NaN: none) and counts worth a note out; `judge.Judge` is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimate of n queries.

    `score` float64 [n], larger is harder, NaN where the estimator knows nothing about it; `levels` int8 [n]
    index into `LEVELS`; `notes` are counts worth a warning: queries `unrated`, requests that failed.
    """

    name: str
    score: np.ndarray
    levels: np.ndarray
    notes: Mapping[str, int] = field(default_factory=dict)


def estimate(
    name: str,
    queries: Sequence[Query],
    responses: Responses | None = None,
    *,
    cuts: Cuts = DEFAULT_CUTS,
    shares: Sequence[float] = DEFAULT_SHARES,
    judge: Rater | None = None,
    fallback: str = "sampled",
) -> Estimate:
    """Return the estimate `name` (one of `ESTIMATORS`) of `queries`; `responses` are their verified trials.

    Levels of all but `sampled` hold the `shares` of the queries, easiest first. `judge` rates questions;
    a query that it leaves unrated is handled as `fallback` says (`JudgeOptions.fallback`), and counted. A
    query that the others know nothing about (no label, no trial) is ranked in the middle, and counted.
    Raises `UserError` for an unknown estimator, for one that lacks its trials, labels or judge, and when
    the judge leaves queries unrated with `fallback="stop"`.
    """
    if name not in ESTIMATORS:
        raise UserError(f"estimator {name!r}: unknown{nearest(name, ESTIMATORS)}")
    if name in NEEDS_TRIALS and (responses is None or not len(responses)):
        raise UserError(
            f"estimator {name}: needs trials, and there are none; sample some, or use label or judge"
        )
    if name == "judge":
        return _judged(queries, responses, cuts, shares, judge, fallback)
    if name == "label":
        return _ranked(name, _label_scores(queries), shares)
    assert responses is not None
    sums = TrialSums.of(responses, queries)
    seen = sums.trials > 0
    if name == "sampled":
        score = np.where(seen, fail_rate(sums.correct, sums.trials), np.nan)
        levels = levels_from_counts(sums.correct, sums.trials, cuts)
        return Estimate(name=name, score=score, levels=levels, notes=_unknown(score))
    if name == "fail_rate":
        score = fail_rate(sums.correct, sums.trials)
    elif name == "uncertainty":
        score = sums.entropy / np.maximum(sums.trials, 1)
    else:
        score = sums.self_aware()
    return _ranked(name, np.where(seen, score, np.nan), shares)


# --- ranks and levels ---------------------------------------------------------------------------------


def rank_quantiles(*keys: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the rank of each query by `keys`, the first key first, in [0, 1].

    0 is the smallest. Equal queries share the mean of their ranks. A single query is in the middle.
    """
    n = len(keys[0])
    if n == 1:
        return np.array([0.5])
    order = np.lexsort(keys[::-1])
    columns = np.stack([np.asarray(key, np.float64) for key in keys])[:, order]
    new = np.ones(n, bool)
    new[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    group = np.cumsum(new) - 1
    size = np.bincount(group)
    middle = np.cumsum(size) - (size + 1) / 2
    quantile = np.empty(n)
    quantile[order] = middle[group] / (n - 1)
    return quantile


def levels_by_rank(
    score: Float[np.ndarray, " n"], shares: Sequence[float] = DEFAULT_SHARES
) -> Int8[np.ndarray, " n"]:
    """Return the levels of a ranking by `score`: the easiest share is easy, and so on.

    Equal scores have equal levels, that of the middle of their ranks, so the shares hold as nearly as
    ties allow. NaN is in the middle of the ranking. Raises ValueError for shares that do not sum to 1.
    """
    cut = np.cumsum(np.asarray(shares, np.float64))
    if len(cut) != len(LEVELS) or min(shares) < 0 or abs(cut[-1] - 1) > 1e-6:
        raise ValueError(f"need {len(LEVELS)} shares that sum to 1, got {shares}")
    known = ~np.isnan(score)
    place = np.full(len(score), 0.5)
    if known.any():
        n = int(known.sum())
        place[known] = (rank_quantiles(score[known]) * (n - 1) + 0.5) / n
    return np.minimum(np.searchsorted(cut[:-1], place, side="right"), len(LEVELS) - 1).astype(np.int8)


def _ranked(name: str, score: Float[np.ndarray, " n"], shares: Sequence[float]) -> Estimate:
    return Estimate(name=name, score=score, levels=levels_by_rank(score, shares), notes=_unknown(score))


def _unknown(score: Float[np.ndarray, " n"]) -> dict[str, int]:
    count = int(np.isnan(score).sum())
    return {"unknown": count} if count else {}


# --- from trials --------------------------------------------------------------------------------------


@dataclass(slots=True)
class TrialSums:
    """Sums over the trials of n queries, [n] each: counts int64; steps, length and entropy float64."""

    trials: np.ndarray
    correct: np.ndarray
    steps: np.ndarray
    length: np.ndarray
    entropy: np.ndarray

    @classmethod
    def of(cls, responses: Responses, queries: Sequence[Query], separators: Sequence[str] = ()) -> TrialSums:
        """Sum over the `responses` to `queries`, in any order; steps end at `separators`, else by task."""
        query, n = responses.query, len(queries)
        steps = steps_of(responses, queries, separators)
        # Floats are added in order of (query, round, trial), as their sum depends on the order.
        order = np.lexsort((responses.trial, responses.round, query))
        entropy = np.nan_to_num(responses.entropy.astype(np.float64))
        return cls(
            trials=np.bincount(query, minlength=n),
            correct=np.bincount(query[responses.correct], minlength=n),
            steps=np.bincount(query, weights=steps, minlength=n),
            length=np.bincount(query, weights=responses.length, minlength=n),
            entropy=np.bincount(query[order], weights=entropy[order], minlength=n),
        )

    def self_aware(self) -> Float[np.ndarray, " n"]:
        """Return SAI-DPO's difficulty as a rank in [0, 1]; NaN for a query without trials.

        Lexicographic: P@K (1 if one of the K trials is correct) before mean steps before mean length; lower
        P@K, more steps and longer responses are harder. What a step is: `step_count`.
        """
        seen = self.trials > 0
        score = np.full(len(seen), np.nan)
        if seen.any():
            trials = self.trials[seen]
            score[seen] = rank_quantiles(
                -(self.correct[seen] > 0).astype(np.float64),
                self.steps[seen] / trials,
                self.length[seen] / trials,
            )
        return score


# --- from labels and the judge ------------------------------------------------------------------------


def _label_scores(queries: Sequence[Query]) -> np.ndarray:
    """Return the rank of each query's label among the labels in natural order; NaN without a label."""
    labels = [query.level for query in queries]
    known = [label for label in labels if label is not None]
    if not known:
        raise UserError("estimator label: none of the queries has a level; use another estimator")
    place = {label: float(i) for i, label in enumerate(sorted_levels(known))}
    return np.array([np.nan if label is None else place[label] for label in labels])


def _judged(
    queries: Sequence[Query],
    responses: Responses | None,
    cuts: Cuts,
    shares: Sequence[float],
    judge: Rater | None,
    fallback: str,
) -> Estimate:
    if judge is None:
        raise UserError("estimator judge: needs an endpoint and a model; set judge.endpoint and judge.model")
    score, notes = judge([query.question for query in queries])
    unrated = np.isnan(score)
    levels = levels_by_rank(score, shares)
    counts = dict(notes)
    if not unrated.any():
        return Estimate(name="judge", score=score, levels=levels, notes=counts)
    if fallback == "stop":
        check_rated(score)
    counts["unrated"] = int(unrated.sum())
    if fallback in ("sampled", "label"):
        other = estimate(fallback, queries, responses, cuts=cuts, shares=shares)
        levels[unrated] = other.levels[unrated]
        score = _filled_by_rank(score, other.score)
    elif not unrated.all():
        score = np.where(unrated, np.nanmedian(score), score)
    return Estimate(name="judge", score=score, levels=levels, notes=counts)


def check_rated(ratings: Float[np.ndarray, " n"], name: str = "judge") -> None:
    """Raise `UserError` where one of the judge's `ratings` is NaN; `name` is its section of a config."""
    unrated = int(np.isnan(ratings).sum())
    if unrated:
        raise UserError(
            f"{name}: {unrated:,} of {len(ratings):,} queries got no rating; check the endpoint, "
            f"or set {name}.fallback"
        )


def _filled_by_rank(
    score: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return `score` with its gaps filled by the score whose rank is that of the gap in `other`."""
    gaps, known = np.isnan(score), ~np.isnan(score)
    filled = score.copy()
    place = np.full(len(other), 0.5)
    ranked = ~np.isnan(other)
    if ranked.any():
        place[ranked] = rank_quantiles(other[ranked])
    filled[gaps] = np.quantile(score[known], place[gaps]) if known.any() else place[gaps]
    return filled
