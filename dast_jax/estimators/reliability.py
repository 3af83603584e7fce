"""How far levels can be trusted, and how they move: split halves of the trials, levels under a later policy.

Everything is by query, in columns; −1 is the level of a query of which too little is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int8, Integer, Real

from dast_jax.estimators.levels import DEFAULT_CUTS, Cuts, levels_from_counts, smallest_trials
from dast_jax.records import LEVELS, Responses

__all__ = ["UNKNOWN", "Reliability", "cohen_kappa", "known_levels", "split_half", "transitions"]

UNKNOWN = -1
"""The level of a query of which too little is known."""

_NAMES = (*LEVELS, "unknown")


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How far two halves of the trials of an estimate agree on the levels.

    The first K trials of each query are split into odd and even ones, K being what every sampled query has.
    """

    queries: int
    """queries sampled"""
    trials: int
    """trials in a half; below 5 (for the default cuts), no query of a half can be hard"""
    same_level: float
    """share of the queries to which both halves give the same level"""
    kappa: float | None
    """Cohen's κ of the two halves' levels, of half as many trials: a lower bound for all of them; null where
    both halves have one level"""
    correlation: float | None
    """Pearson's r of the two halves' pass rates; null where one is constant"""
    reliability: float | None
    """2r/(1 + r) (Spearman, Brown): the reliability of the pass rate by all K trials; null where r is, or is
    not positive"""


def known_levels(
    correct: Integer[np.ndarray, " n"], trials: Integer[np.ndarray, " n"], cuts: Cuts = DEFAULT_CUTS
) -> Int8[np.ndarray, " n"]:
    """Return levels by the pass rate where there are trials enough for all four levels, else `UNKNOWN`."""
    levels = levels_from_counts(correct, trials, cuts)
    return np.where(trials >= smallest_trials(cuts), levels, UNKNOWN).astype(np.int8)


def transitions(
    before: Integer[np.ndarray, " n"], after: Integer[np.ndarray, " n"]
) -> dict[str, dict[str, int]]:
    """Return level before → level after → queries, of the queries whose level before is known.

    Empty where no level after is known.
    """
    if not (after != UNKNOWN).any():
        return {}
    counts = np.zeros((len(_NAMES), len(_NAMES)), np.int64)
    np.add.at(counts, (before, after), 1)  # −1 is the last row and column
    return {
        name: dict(zip(_NAMES, counts[i].tolist(), strict=True))
        for i, name in enumerate(LEVELS)
        if counts[i].any()
    }


def split_half(
    responses: Responses, which: Bool[np.ndarray, " m"], n_queries: int, cuts: Cuts = DEFAULT_CUTS
) -> Reliability | None:
    """Return how far halves of the trials chosen by `which` agree; None for fewer than two trials a query."""
    rows = np.flatnonzero(which)
    rows = rows[np.lexsort((responses.trial[rows], responses.query[rows]))]
    query = responses.query[rows]
    count = np.bincount(query, minlength=n_queries)
    sampled = count > 0
    half = int(count[sampled].min()) // 2 if sampled.any() else 0
    if not half:
        return None
    first = np.cumsum(count) - count
    place = np.arange(len(rows)) - first[query]
    used = place < 2 * half
    correct = responses.correct[rows][used]
    even = place[used] % 2 == 0
    sides = [np.bincount(query[used][side & correct], minlength=n_queries)[sampled] for side in (even, ~even)]
    levels = [levels_from_counts(side, half, cuts) for side in sides]
    correlation = _pearson(*sides)
    return Reliability(
        queries=int(sampled.sum()),
        trials=half,
        same_level=float((levels[0] == levels[1]).mean()),
        kappa=cohen_kappa(*levels),
        correlation=correlation,
        reliability=2 * correlation / (1 + correlation) if correlation and correlation > 0 else None,
    )


def cohen_kappa(a: Integer[np.ndarray, " n"], b: Integer[np.ndarray, " n"]) -> float | None:
    """Return Cohen's κ of two ratings by levels: (p_o − p_e)/(1 − p_e); None where p_e is 1 or n is 0."""
    if not len(a):
        return None
    shares = [np.bincount(side, minlength=len(LEVELS)) / len(a) for side in (a, b)]
    expected = float(shares[0] @ shares[1])
    return None if math.isclose(expected, 1.0) else (float((a == b).mean()) - expected) / (1 - expected)


def _pearson(a: Real[np.ndarray, " n"], b: Real[np.ndarray, " n"]) -> float | None:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
