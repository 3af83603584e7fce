"""Difficulty levels from the pass rate of trials, their counts and shares; the fail rate.

Counts per query come in as integer arrays, and whole pools are handled by numpy operations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int8, Integer

from dast_jax.records import LEVELS

__all__ = [
    "DEFAULT_CUTS",
    "EASY",
    "HARD",
    "MIDDLE",
    "UNSOLVED",
    "Cuts",
    "fail_rate",
    "level_counts",
    "level_shares",
    "levels_from_counts",
    "smallest_trials",
]

EASY, MIDDLE, HARD, UNSOLVED = range(len(LEVELS))


class Cuts(NamedTuple):
    """Cut points of the pass rate: easy from `easy` up, hard below `hard`, middle between them.

    The levels are those of arXiv 2503.09029, the cut points are [ours] (the paper does not give its own).
    """

    easy: float = 0.75
    hard: float = 0.25


DEFAULT_CUTS = Cuts()


# --- levels -----------------------------------------------------------------------------------------


def levels_from_counts(
    correct: Integer[np.ndarray, " n"], trials: Integer[np.ndarray, " n"] | int, cuts: Cuts = DEFAULT_CUTS
) -> Int8[np.ndarray, " n"]:
    """Return levels (index into `LEVELS`) by how many of `trials` trials are `correct`.

    With p = correct / trials: easy p >= cuts.easy, middle cuts.hard <= p < cuts.easy, hard
    0 < p < cuts.hard, unsolved p = 0. A query without trials is unsolved: nothing shows that it can be
    solved. Raises ValueError for impossible counts, or cut points out of order.
    """
    correct, trials = np.broadcast_arrays(np.asarray(correct), np.asarray(trials))
    if (correct < 0).any() or (correct > trials).any():
        raise ValueError("need 0 <= correct <= trials for every query")
    if not 0 < cuts.hard < cuts.easy <= 1:
        raise ValueError(f"need 0 < hard < easy <= 1 for the cut points, got {cuts}")
    rate = correct / np.maximum(trials, 1)
    levels = np.full(rate.shape, HARD, np.int8)
    levels[rate >= cuts.hard] = MIDDLE
    levels[rate >= cuts.easy] = EASY
    levels[correct == 0] = UNSOLVED
    return levels


def smallest_trials(cuts: Cuts) -> int:
    """Return the fewest trials per query with which a query can be hard at all (5 for the default cuts)."""
    trials = 1
    while HARD not in levels_from_counts(np.arange(trials + 1), trials, cuts):
        trials += 1
    return trials


def level_counts(
    levels: Integer[np.ndarray, " n"], query: Integer[np.ndarray, " m"] | None = None
) -> Integer[np.ndarray, " 4"]:
    """Count how many queries, or how many rows of `query` (indices), have each level."""
    chosen = levels if query is None else levels[query]
    return np.bincount(chosen.astype(np.int64), minlength=len(LEVELS))


def level_shares(
    levels: Integer[np.ndarray, " n"], query: Integer[np.ndarray, " m"] | None = None
) -> dict[str, float]:
    """Return the share of each level, by name, of the queries or of the rows of `query`; zeros when empty."""
    counts = level_counts(levels, query)
    return dict(zip(LEVELS, (counts / max(counts.sum(), 1)).tolist(), strict=True))


# --- rates ------------------------------------------------------------------------------------------


def fail_rate(
    correct: Integer[np.ndarray, " n"], trials: Integer[np.ndarray, " n"] | int
) -> Float[np.ndarray, " n"]:
    """Return 1 − correct / trials; 1 for a query without trials."""
    correct, trials = np.broadcast_arrays(np.asarray(correct), np.asarray(trials))
    rate: np.ndarray = correct / np.maximum(trials, 1)
    return 1.0 - rate
