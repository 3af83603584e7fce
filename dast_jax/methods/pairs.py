"""From verified responses to preference pairs: a correct response over an incorrect one of the same query.

[ours] Only a response whose verdict is incorrect and that is not truncated can be rejected: a truncated or
timed-out one, or one without an answer, was not shown to be incorrect. Of responses that are not distinct
(`Method.distinct`) only the first counts.
Which pairs are drawn depends on (seed, query) and the responses there are, not on their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dast_jax.estimators.distinct import Distinct, rejectable, usable
from dast_jax.methods.training_sets import distinct_rows, rank_within
from dast_jax.records import LEVELS, Origin, Pool, PreferenceSet, Responses, Tally

__all__ = ["Candidates", "candidates", "draw_pairs", "quota_pairs", "trials_for_pairs", "trials_until_pairs"]


class Candidates:
    """The texts of one side of the pairs, by query, in a random order drawn by the seed.

    `query` int [m] sorted; `text` object [m]; `is_reference` bool [m]; `origin` [m].
    """

    def __init__(self, query: np.ndarray, text: np.ndarray, origin: Origin, n_queries: int):
        self.query, self.text, self.origin = query, text, origin
        self.is_reference = origin.round < 0
        self.count = np.bincount(query, minlength=n_queries)
        self.first = np.cumsum(self.count) - self.count

    def with_references(self, query: np.ndarray, solutions: np.ndarray) -> Candidates:
        """Return the same, but with its reference solution as the only text of each `query`; both [k]."""
        own = ~np.isin(self.query, query)
        new_query = np.concatenate([self.query[own], query])
        order = np.argsort(new_query, kind="stable")
        text = np.concatenate([self.text[own], solutions])[order]
        origin = Origin.concatenate([self.origin.take(own), Origin.references(len(query))]).take(order)
        return Candidates(new_query[order], text, origin, len(self.count))


def candidates(
    responses: Responses, n_queries: int, seed: Sequence[int], distinct: Distinct | None = None
) -> tuple[Candidates, Candidates]:
    """Return the responses that can be chosen, and those that can be rejected, of each query.

    They differ as `distinct` says, by default in their text.
    """
    distinct = distinct or Distinct()
    return (
        _texts(responses, np.flatnonzero(usable(responses)), distinct, n_queries, [*seed, 3]),
        _texts(responses, np.flatnonzero(rejectable(responses)), distinct, n_queries, [*seed, 4]),
    )


def draw_pairs(
    chosen: Candidates,
    rejected: Candidates,
    wanted: np.ndarray,
    *,
    max_repeats: int = 1,
    levels: np.ndarray | None = None,
) -> PreferenceSet:
    """Return `wanted` pairs of each query, int [n], from its `chosen` and `rejected` texts; ordered by query.

    All c·r pairs of a query are used before one of them is used again, each at most `max_repeats` times; the
    first pairs go round both sides, so that each text is used as evenly as possible. What is lacking is
    the shortfall, by level where `levels` int [n] are given.
    """
    c, r = chosen.count, rejected.count
    count = np.minimum(wanted, c * r * max_repeats)
    query = np.repeat(np.arange(len(count)), count)
    k = rank_within(query)
    c, r = c[query], r[query]
    # Pair k of a query is (k mod c, (k + k div lcm(c, r)) mod r): a bijection of 0..c·r−1 to the pairs.
    k = k % np.maximum(c * r, 1)
    i = chosen.first[query] + k % np.maximum(c, 1)
    j = rejected.first[query] + (k + k // np.maximum(np.lcm(c, r), 1)) % np.maximum(r, 1)
    short = np.maximum(wanted - count, 0)
    shortfall = (
        {name: int(short[levels == level].sum()) for level, name in enumerate(LEVELS)}
        if levels is not None
        else {}
    )
    return PreferenceSet(
        query=query.astype(np.int32),
        chosen=chosen.text[i],
        rejected=rejected.text[j],
        chosen_is_reference=chosen.is_reference[i],
        shortfall=shortfall,
        chosen_origin=chosen.origin.take(i),
        rejected_origin=rejected.origin.take(j),
    )


def quota_pairs(
    pool: Pool,
    responses: Responses,
    distinct: Distinct,
    quotas: np.ndarray,
    by_reference: np.ndarray,
    levels: np.ndarray,
    *,
    max_repeats: int,
    max_trials: int,
    seed: Sequence[int],
) -> tuple[PreferenceSet, np.ndarray]:
    """Return `quotas` pairs of each query, int [n], and how many of its trials they come from, int32 [n].

    They are drawn as `draw_pairs` does from the responses up to the trial at which there are enough
    (`trials_until_pairs`). Where `by_reference` (bool [n]) the chosen text is the query's reference solution.
    """
    used = trials_until_pairs(quotas, responses, distinct, by_reference, max_trials)
    counted = responses.take(responses.trial < used[responses.query])
    chosen, rejected = candidates(counted, len(pool), seed, distinct)
    preferred = np.flatnonzero(by_reference)
    solutions = np.array([pool.queries[i].solution for i in preferred], dtype=object)
    chosen = chosen.with_references(preferred, solutions)
    return draw_pairs(chosen, rejected, quotas, max_repeats=max_repeats, levels=levels), used


def trials_for_pairs(
    wanted: np.ndarray,
    choosable: np.ndarray,
    rejectable: np.ndarray,
    tally: Tally,
    prefers_reference: np.ndarray,
    max_trials: int,
) -> np.ndarray:
    """Return further trials per query, int64 [n], until c·r ≥ `wanted` pairs are possible, within the budget.

    c are the distinct responses that can be chosen, `choosable` int [n] so far, or 1 where the reference is
    preferred (bool [n]); r those that can be rejected, `rejectable` int [n]. [ours] With yields p and q so
    far, t more trials are expected to give (c + p·t)·(r + q·t) pairs; a query requests at most as many at a
    time as it has had.
    """
    c = np.where(prefers_reference, 1, choosable)
    p = np.where(prefers_reference, 0.0, (choosable + 0.5) / (tally.finished + 1.0))
    r, q = rejectable, (rejectable + 0.5) / (tally.finished + 1.0)
    lacking = np.maximum(wanted - c * r, 0)
    b = c * q + r * p
    t = np.ceil(2 * lacking / (b + np.sqrt(b * b + 4 * p * q * lacking)))
    least = np.ceil(2 * np.sqrt(wanted))
    more = np.minimum(t, np.maximum(least, tally.finished)).astype(np.int64)
    outstanding = tally.requested - tally.finished
    budget = np.maximum(max_trials - tally.requested, 0)
    return np.where(lacking > 0, np.clip(more - outstanding, 0, budget), 0)


def trials_until_pairs(
    wanted: np.ndarray,
    responses: Responses,
    distinct: Distinct,
    prefers_reference: np.ndarray,
    max_trials: int,
) -> np.ndarray:
    """Return each query's trials up to the one at which c·r reaches `wanted`, int32 [n].

    c and r are those of `trials_for_pairs`; `max_trials` where that never happens. What was sampled beyond
    depends on what was in flight.
    """
    order = np.lexsort((responses.trial, responses.round, responses.query))
    query = responses.query[order]
    good, bad = np.zeros(len(responses), bool), np.zeros(len(responses), bool)
    good[distinct_rows(responses, distinct)] = True
    bad[distinct_rows(responses, distinct, np.flatnonzero(rejectable(responses)))] = True
    c = _running(good[order] & ~prefers_reference[query], query) + prefers_reference[query]
    r = _running(bad[order], query)
    met = np.flatnonzero(c * r >= wanted[query])
    used = np.full(len(wanted), max_trials, np.int32)
    first, at = np.unique(query[met], return_index=True)
    used[first] = responses.trial[order[met[at]]] + 1
    return used


def _running(flag: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Count the flags up to each row in its run of equal values of the sorted `query`, int64 [m]."""
    total = np.cumsum(flag)
    before = total - flag
    starts = np.flatnonzero(np.diff(query, prepend=-1) != 0)
    count: np.ndarray = total - np.repeat(before[starts], np.diff(np.append(starts, len(query))))
    return count


def _texts(
    responses: Responses, rows: np.ndarray, distinct: Distinct, n_queries: int, seed: list[int]
) -> Candidates:
    """Return the distinct ones of `rows`, in an order that their keys and the seed decide."""
    query = responses.query[rows]
    key = distinct.keys_of(responses, rows)
    # Of responses that are not different the first by (round, trial).
    order = np.lexsort((responses.trial[rows], responses.round[rows], key, query))
    same = (np.diff(query[order]) == 0) & (key[order][1:] == key[order][:-1])
    order = order[np.concatenate([[True], ~same])] if len(rows) else order
    salt = np.random.default_rng(seed).integers(0, 2**64, dtype=np.uint64)
    shuffled = _mix(key[order] ^ _mix(query[order].astype(np.uint64) ^ salt))
    order = order[np.lexsort((shuffled, query[order]))]
    rows = rows[order]
    return Candidates(responses.query[rows], responses.text[rows], Origin.of(responses, rows), n_queries)


def _mix(x: np.ndarray) -> np.ndarray:
    """Return uint64 [n] with all bits mixed, a bijection (the finalizer of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
