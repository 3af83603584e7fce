"""How many trials each query gets next, and how they are numbered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dast_jax.records import LEVELS, PromptKind, Requests, Tally

__all__ = ["draw", "level_quotas", "numbered", "top_up"]


def numbered(
    count: np.ndarray, tally: Tally, kind: PromptKind, *, temperature: float | None = None
) -> Requests:
    """Return `count` trials per query, int [n], numbered after those requested so far; ordered by query."""
    query = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    trial = tally.requested[query] + within
    return Requests(
        query.astype(np.int32),
        trial.astype(np.int32),
        np.full(len(query), kind, np.int8),
        None if temperature is None else np.full(len(query), temperature, np.float32),
    )


def top_up(deficit: np.ndarray, found: np.ndarray, tally: Tally, max_trials: int) -> np.ndarray:
    """Return further trials per query, int64 [n]: the `deficit` over the yield so far, within the budget.

    [ours] The yield is `found` per finished trial, half a success in one trial as prior. A query requests
    at most its deficit, or the trials it has had, at a time, so few ticks are spent on it (the trials
    double) and few trials beyond the target, which are dropped by their number.
    """
    rate = (found + 0.5) / (tally.finished + 1.0)
    wanted = np.minimum(np.rint(deficit / rate), np.maximum(deficit, tally.finished)).astype(np.int64)
    outstanding = tally.requested - tally.finished
    budget = np.maximum(max_trials - tally.requested, 0)
    return np.where(deficit > 0, np.clip(wanted - outstanding, 0, budget), 0)


def level_quotas(
    levels: np.ndarray, base: int, multipliers: Mapping[str, int], spread: int | None = None
) -> np.ndarray:
    """Return `base` times the multiplier of each query's level, int64 [n].

    [ours] With a seed `spread`, the same total is spread evenly over the pool instead; the queries that get
    one more when it does not divide are drawn by the seed.
    """
    quotas: np.ndarray = base * np.array([multipliers[name] for name in LEVELS])[levels]
    if spread is None:
        return quotas
    share, rest = divmod(int(quotas.sum()), len(quotas))
    even = np.full(len(quotas), share)
    even[np.random.default_rng([spread, 1]).permutation(len(quotas))[:rest]] += 1
    return even


def draw(weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` queries one by one without replacement by `weight` float [n]: sorted int64.

    Queries of weight 0 are never drawn. By exponential race (Efraimidis and Spirakis, 2006).
    """
    eligible = np.flatnonzero(weight > 0)
    arrival = rng.exponential(size=len(weight))[eligible] / weight[eligible]
    if count < len(eligible):
        eligible = eligible[np.argpartition(arrival, count - 1)[:count]]
    return np.sort(eligible)
