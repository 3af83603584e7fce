"""The statistics behind every reported number: intervals, paired differences, pass@k, majority@k.

Pure numpy on per-query counts; nothing here knows of models or files. Queries are the unit of
sampling throughout: several trials of one query are never treated as independent observations.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Integer

from dast_jax.records import LEVELS

__all__ = [
    "Accuracy",
    "Interval",
    "Numbers",
    "PairedDifference",
    "Score",
    "accuracy_entry",
    "bootstrap_mean_interval",
    "by_level",
    "clustered_interval",
    "crossed_interval",
    "majority_at_k",
    "mean_entropy",
    "paired_difference",
    "pass_at_k",
    "seed_interval",
    "sorted_levels",
    "unbiased_pass_at_k",
    "wilson_interval",
]

Numbers: TypeAlias = np.ndarray | Sequence[float | int]
"""One number per query or seed."""

Interval = tuple[float, float]
"""(low, high), 95 % unless said otherwise."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """An accuracy of another kind than the mean over trials: pass@k, majority@k."""

    accuracy: float
    """mean over the questions"""
    interval: Interval
    """`[low, high]`, 95 %"""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The accuracy on a set of questions."""

    accuracy: float
    """mean over questions of correct / trials: avg@k where there are k trials"""
    interval: Interval
    """`[low, high]`, 95 %, see [Intervals](#intervals)"""
    n: int
    """questions"""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The difference of two accuracies on the same questions."""

    difference: float
    """the first accuracy minus the second"""
    interval: Interval
    """its paired 95 % interval `[low, high]`"""


def wilson_interval(k: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion: `k` successes of `n` (both may be effective counts).

    Returns (low, high) within [0, 1]; (0, 1) when n is 0. Raises ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"need 0 <= k <= n, got k={k}, n={n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = k / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At k = 0 and k = n the bound is exactly 0 or 1; rounding must not leave it a hair outside.
    low = 0.0 if k == 0 else max(0.0, (centre - half) / scale)
    high = 1.0 if k == n else min(1.0, (centre + half) / scale)
    return low, high


def clustered_interval(counts: Numbers, trials: int, *, confidence: float = 0.95) -> Interval:
    """Interval of the mean accuracy of n queries with `trials` trials each, int counts [n].

    Wilson's interval at the effective sample size p(1−p) / var(mean) (Kish's design effect), with
    the variance taken between queries, held within [n, n·trials]. With one trial it is Wilson's.
    """
    rates = np.asarray(counts, np.float64) / trials
    n = len(rates)
    if n == 0:
        return 0.0, 1.0
    p = float(rates.mean())
    effective = float(n)
    if trials > 1 and n > 1:
        variance_of_mean = float(rates.var(ddof=1)) / n
        if variance_of_mean > 0:
            effective = min(max(p * (1 - p) / variance_of_mean, n), n * trials)
    return wilson_interval(min(p * effective, effective), effective, confidence=confidence)


def sorted_levels(labels: Sequence[str]) -> list[str]:
    """Return the distinct labels, easiest first: those of `LEVELS`, then naturally ("2" < "10")."""

    def key(label: str) -> tuple[int, list[tuple[int, int, str]]]:
        if label.lower() in LEVELS:
            return LEVELS.index(label.lower()), []
        parts = [part for part in re.split(r"(\d+)", label) if part]
        # isdecimal, not isdigit: int() refuses superscripts and their like.
        return len(LEVELS), [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts]

    return sorted(set(labels), key=key)


def accuracy_entry(correct: Numbers, trials: int = 1) -> Accuracy:
    """Return the accuracy on n queries with its interval.

    `correct` bool or int [n] is the number of correct trials of each query. The interval is Wilson's,
    at the effective sample size when trials > 1 (`clustered_interval`).
    """
    counts = _counts(correct, trials)
    n = len(counts)
    accuracy = float(counts.mean()) / trials if n else 0.0
    return Accuracy(accuracy=accuracy, interval=clustered_interval(counts, trials), n=n)


def by_level(correct: Numbers, trials: int, labels: Sequence[str | None]) -> dict[str, Accuracy]:
    """Return the accuracy of each level, easiest first, over the queries that have a label.

    `correct` bool or int [n] as in `accuracy_entry`, `labels` [n] the level of each query or None.
    """
    counts = _counts(correct, trials)
    if len(counts) != len(labels):
        raise ValueError(f"{len(counts)} queries but {len(labels)} labels")
    column = np.array(labels, dtype=object)
    return {
        label: accuracy_entry(counts[column == label], trials)
        for label in sorted_levels([label for label in labels if label is not None])
    }


def paired_difference(
    a: Numbers, b: Numbers, *, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> PairedDifference:
    """Return the mean of a − b over the same n queries, with its paired percentile bootstrap interval.

    a, b: accuracy of each query, [n] (bool, or correct / trials). Raises ValueError when the lengths differ
    or are 0.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"paired samples must be the same queries, got shapes {a.shape} and {b.shape}")
    difference = a - b
    interval = bootstrap_mean_interval(difference, resamples=resamples, seed=seed, confidence=confidence)
    return PairedDifference(difference=float(difference.mean()), interval=interval)


def bootstrap_mean_interval(
    values: Numbers, *, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of the mean of `values` [n], n >= 1.

    Resampling n values with replacement is a multinomial draw over the distinct ones, and per-query
    scores have few distinct values: the cost does not grow with n as scipy.stats.bootstrap's does.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    rng = np.random.default_rng(seed)
    distinct, inverse = np.unique(values, return_inverse=True)
    if len(distinct) <= 256:
        share = np.bincount(inverse) / n
        means = rng.multinomial(n, share, size=resamples) @ distinct / n
    else:
        chunk = max(1, 4_000_000 // n)
        means = np.concatenate(
            [
                values[rng.integers(0, n, (min(chunk, resamples - start), n))].mean(axis=1)
                for start in range(0, resamples, chunk)
            ]
        )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def crossed_interval(
    values: Numbers, *, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of the mean of `values` [s, n], n queries under each of s seeds.

    Seeds and queries are both resampled (Owen, "The pigeonhole bootstrap", 2007): the interval says what
    other training runs and other queries might give. With few seeds it is somewhat narrow, by about the root
    of (s − 1)/s; with one it is that of the queries alone.
    """
    values = np.asarray(values, np.float64)
    seeds, n = values.shape
    rng = np.random.default_rng(seed)
    # A draw of queries is a multinomial one over their distinct columns, of which there are few.
    columns, inverse = np.unique(values, axis=1, return_inverse=True)
    drawn = rng.multinomial(n, np.bincount(np.ravel(inverse)) / n, size=resamples)
    by_seed = drawn @ columns.T / n
    means = (by_seed * rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)).sum(axis=1) / seeds
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def seed_interval(values: Numbers, *, confidence: float = 0.95) -> Interval | None:
    """Student's t interval of the mean of `values` [n], one per seed; None for fewer than two.

    Held within [0, 1], as the values are accuracies.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if n < 2:
        return None
    from scipy.special import stdtrit  # Student's quantile; slow to import, and few commands need it

    half = float(stdtrit(n - 1, 0.5 + confidence / 2) * values.std(ddof=1)) / math.sqrt(n)
    return max(0.0, float(values.mean()) - half), min(1.0, float(values.mean()) + half)


def unbiased_pass_at_k(
    correct: Integer[np.ndarray, "*n"], trials: Integer[np.ndarray, "*n"] | int, k: int
) -> Float[np.ndarray, "*n"]:
    """Return the unbiased estimate of pass@k per query, float64 [n]: 1 − C(n − c, k) / C(n, k).

    The estimator is that of arXiv 2107.03374. Raises ValueError when k < 1 or a query has fewer than k
    trials.
    """
    correct, trials = np.broadcast_arrays(np.asarray(correct), np.asarray(trials))
    if k < 1 or (trials < k).any():
        raise ValueError(f"pass@{k} needs at least {max(k, 1)} trials of every query")
    # C(n − c, k) / C(n, k) as a product of k ratios, which stays in range for any n.
    step = np.arange(k)
    ratios = (trials - correct)[..., None] - step
    none_correct: np.ndarray = np.prod(np.maximum(ratios, 0) / (trials[..., None] - step), axis=-1)
    return 1.0 - none_correct


def pass_at_k(
    counts: Numbers,
    trials: int,
    k: int,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Score:
    """Return the mean pass@k over queries with a bootstrap interval over queries."""
    scores = unbiased_pass_at_k(np.asarray(counts), trials, k)
    interval = bootstrap_mean_interval(scores, resamples=resamples, seed=seed, confidence=confidence)
    return Score(accuracy=float(scores.mean()), interval=interval)


def majority_at_k(answers: Sequence[Sequence[str | None]], flags: Sequence[Sequence[bool]], k: int) -> Score:
    """Return the accuracy of the majority answer among the first k trials of each query.

    answers[i][j] is what was extracted from trial j of query i (None does not vote), flags[i][j]
    whether it was correct. Answers vote by their stripped text; ties go to the answer seen first,
    whose own flag decides. A query where nothing voted is wrong.
    """
    if len(answers) != len(flags):
        raise ValueError(f"{len(answers)} queries with answers but {len(flags)} with flags")
    correct = 0
    for query_answers, query_flags in zip(answers, flags, strict=True):
        if not 1 <= k <= len(query_answers):
            raise ValueError(f"majority@{k} needs at least {k} trials, got {len(query_answers)}")
        votes: Counter[str] = Counter()
        first_flag: dict[str, bool] = {}
        for answer, flag in zip(query_answers[:k], query_flags[:k], strict=True):
            if answer is not None:
                votes[answer.strip()] += 1
                first_flag.setdefault(answer.strip(), bool(flag))
        if votes:
            # max keeps the first of equals, and Counter keeps the order of first votes.
            correct += first_flag[max(votes, key=votes.__getitem__)]
    n = len(answers)
    return Score(accuracy=correct / n if n else 0.0, interval=wilson_interval(correct, n))


def mean_entropy(entropy: Numbers) -> float | None:
    """Return the mean of the entropies [n] (nats) that are known; None where none is (NaN)."""
    values = np.asarray(entropy, np.float64)
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _counts(correct: Numbers, trials: int) -> Integer[np.ndarray, " n"]:
    counts = np.asarray(correct).astype(np.int64)
    if counts.ndim != 1:
        raise ValueError(f"correct must have one entry per query, got shape {counts.shape}")
    if len(counts) and (counts.min() < 0 or counts.max() > trials):
        raise ValueError(f"a query has {counts.min()} to {counts.max()} correct of {trials} trials")
    return counts
